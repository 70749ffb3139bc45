"""Frozen features of a data set's images, from one backbone: what a fitted head, a ranking and `auto` are made of.

Each is computed once and kept in the cache under the same key, whoever asked first. Knows no labels and no splits.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl_core.data.cache import Cache
from tl_core.data.pixels import pixels_key
from tl_core.documents.events import Event
from tl_core.documents.manifest import Manifest
from tl_core.models.graphs.export import backbone_key
from tl_core.models.registry import Network
from tl_core.training.frozen.features import EMBEDDING, Wanted, computed_key, kept_features

if TYPE_CHECKING:
    from tl_core.models.build import Backbone


def features_key(manifest: Manifest, network: Network, weights: str, size: int, *more: str) -> str:
    """Names, in the cache, what is computed from these pictures and this backbone."""
    pixels = pixels_key(manifest, size=size, interpolation=network.weights_row(weights).interpolation)
    return computed_key(pixels, backbone_key(network, weights, size), *more)


def frozen_features(
    pixels: NDArray[np.uint8], network: Network, weights: str, *, device: str, cache: Cache, key: str
) -> Generator[Event, None, NDArray[np.float32]]:
    """Embeddings (N, D) of `pixels` (N, S, S, 3) by the frozen backbone, from the cache where `key` is there.

    On a CPU by the exported backbone, which needs no torch where it was exported before; elsewhere by torch.

    Raises:
        WeightsUnavailable, DownloadFailed: the pretrained weights cannot be had.
        SpecError: the pictures' size does not fit the network.
        DeviceError: torch cannot use the device.
        DiskFull: no space is left.
        ModelError: the backbone gives values that are no numbers, or cannot be exported.
    """
    if device == "cpu":
        from tl_core.models.graphs.export import ONNX_NAME, exported_backbone
        from tl_core.training.frozen.features import extract

        exported = yield from exported_backbone(network, weights, pixels.shape[1], cache)
        return (yield from extract(exported / ONNX_NAME, pixels, cache=cache, key=key))

    def fill(into: Path) -> Generator[Event, None, None]:
        from tl_core.training.frozen.eager import run_eager
        from tl_core.training.loop.inputs import torch_device

        torch_device(device)
        backbone = yield from pretrained(network, weights)
        yield from run_eager(backbone, 0, device, [Wanted(EMBEDDING, into, np.float32)], pixels)

    return (yield from kept_features(len(pixels), fill, cache=cache, key=key))


def pretrained(
    network: Network, weights: str, *, classes: int | None = None, seed: int = 0
) -> Generator[Event, None, Backbone]:
    """`network` with its pretrained `weights`, fetched where they are not here, and a new head for `classes`; needs torch.

    Raises:
        WeightsUnavailable, DownloadFailed: the weights cannot be had.
    """
    from tl_core.models.build import build
    from tl_core.models.weights.obtain import fetch

    file = yield from fetch(network, weights)
    return build(network, weights=weights, weights_file=file, classes=classes, seed=seed)
