"""Frozen features: the embeddings that a pretrained backbone gives of a data set's images, computed once and kept in the cache.

The fitted head, the ranking of backbones and the strategy `auto` use them under the same key. They are computed for all images
together, so that a run with another split finds them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl_core.data.cache import Cache, holds_array
from tl_core.data.pixel_arrays import Earlier, earlier, pixels_key, take_rows
from tl_core.documents.events import Event
from tl_core.documents.manifest import Manifest
from tl_core.models.graphs.export import ONNX_NAME, backbone_key, exported_backbone
from tl_core.models.registry import Network
from tl_core.training.frozen.onnx_runtime import EMBEDDING, Pictures, Wanted, run_graph

if TYPE_CHECKING:
    from tl_core.models.build import Backbone


def computed_key(*made_from: str) -> str:
    """A cache key for what is computed from `made_from`: the keys of its ingredients, in order.

    It begins like the first one up to the hyphen, which names the images that it is made from (`pixels.origin`).
    """
    source, hyphen, _ = made_from[0].partition("-")
    digest = hashlib.sha256("\n".join(made_from).encode()).hexdigest()[:40]
    return f"{source}-{digest}" if hyphen else digest


def features_key(manifest: Manifest, network: Network, weights: str, size: int) -> str:
    """Cache key of the embeddings that this backbone gives of the images of `manifest`."""
    pixels = pixels_key(manifest, size=size, interpolation=network.weights_row(weights).interpolation)
    return computed_key(pixels, backbone_key(network, weights, size))


def features_before(manifest: Manifest, network: Network, weights: str, size: int) -> list[Earlier]:
    """The entries with the embeddings of the versions of the data set that `manifest` was made from."""
    return earlier(manifest, partial(features_key, network=network, weights=weights, size=size))


def frozen_features(
    pixels: NDArray[np.uint8],
    network: Network,
    weights: str,
    *,
    device: str,
    cache: Cache,
    key: str,
    before: Sequence[Earlier] = (),
) -> Generator[Event, None, NDArray[np.float32]]:
    """Embeddings (N, D) of `pixels` (N, S, S, 3) by the frozen backbone, from the cache where it has `key`, or one of `before`.

    On a CPU the exported backbone computes them, without torch where it was exported before; on other devices torch does.

    Raises:
        WeightsUnavailable, DownloadFailed: the pretrained weights cannot be had.
        SpecError: the image size does not fit the network.
        DeviceError: torch cannot use the device.
        OverBudget, DiskFull: the cache or the disk has no room for them.
        ModelError: the backbone gives values that are not finite, or cannot be exported.
    """
    needed = len(pixels) * network.embedding_size * 4
    if device == "cpu":
        exported = yield from exported_backbone(network, weights, pixels.shape[1], cache)
        run = partial(run_graph, exported / ONNX_NAME)
        return (yield from kept_features(run, pixels, cache=cache, key=key, before=before, needed=needed))

    def fill(wanted: Sequence[Wanted], pictures: Pictures) -> Generator[Event, None, None]:
        from tl_core.training.device import torch_device
        from tl_core.training.frozen.eager import run_eager

        torch_device(device)
        backbone = yield from pretrained(network, weights)
        yield from run_eager(backbone, 0, device, wanted, pictures)

    return (yield from kept_features(fill, pixels, cache=cache, key=key, before=before, needed=needed))


def kept_features(
    fill: Callable[[Sequence[Wanted], Pictures], Generator[Event, None, None]],
    pixels: NDArray[np.uint8],
    *,
    cache: Cache,
    key: str,
    before: Sequence[Earlier] = (),
    needed: int = 0,
) -> Generator[Event, None, NDArray[np.float32]]:
    """Embeddings (N, D) of `pixels` (N, S, S, 3) as a memory map, from the cache where it has `key`; else `fill` writes them.

    `key` names pixels and backbone: `computed_key(pixels_key(...), backbone_key(...))`. `before`: entries of earlier versions of the data
    set, from which the rows are taken instead where the cache has one. `needed`: their size, bytes, if it is known.

    Raises:
        OverBudget, DiskFull: the cache or the disk has no room for them. Errors of `fill` are passed on.
    """
    with cache.entry("features", key, whole=holds_array(np.float32, len(pixels)), needed=needed) as entry:
        path = entry.path
        if path is None:
            if not take_rows(cache, "features", before, entry.temporary, np.float32):
                yield from fill([Wanted(EMBEDDING, entry.temporary, np.float32)], pixels)
            path = entry.commit()
        features: NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
    return features


def pretrained(
    network: Network, weights: str, *, classes: int | None = None, seed: int = 0
) -> Generator[Event, None, Backbone]:
    """`network` with its pretrained `weights`, which are fetched where they are not here, and a new head for `classes`. Needs torch.

    Raises:
        WeightsUnavailable, DownloadFailed: the weights cannot be had.
    """
    from tl_core.models.build import build
    from tl_core.models.weights.obtain import fetch

    file = yield from fetch(network, weights)
    return build(network, weights=weights, weights_file=file, classes=classes, seed=seed)
