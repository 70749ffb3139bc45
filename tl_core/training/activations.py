"""What the frozen stages give for each picture, computed once and kept as float16, so that a frozen layer is not run twice.

Also the embeddings of a whole backbone on a GPU. Needs torch. Knows no labels, no splits and no optimizer.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tl_core.data.cache import Cache, holds_array
from tl_core.data.pace import Pace
from tl_core.documents.events import Event, Notice
from tl_core.models.build import Backbone
from tl_core.models.export import export_prefix, holds_graph
from tl_core.training.estimate import reading_is_cheaper
from tl_core.training.features import new_rows, run_graph, write_rows

GPU_BATCH = 128
LARGEST_SHARE = 0.5
"""Of the cache that one run's activations may take; the rest is for what else a user does."""


def frozen_activations(
    backbone: Backbone, pixels: NDArray[np.uint8], *, frozen: int, cache: Cache, key: str, device: str
) -> Generator[Event, None, NDArray[np.float16] | None]:
    """The output of the first `frozen` stages for every row of `pixels` (N, S, S, 3): float16 (N, K, h, w), memory-mapped.

    None, with a notice that says so, where they would not fit the cache or where reading them back takes longer than
    computing them (a frozen stem alone): then they are recomputed in each epoch. On the CPU they come from ONNX Runtime,
    on another device from torch in float32. `key` names pixels, backbone and `frozen`.

    Raises:
        DiskFull: no space is left.
        ModelError: the backbone gives values that are no numbers, or cannot be exported.
    """
    an_image = _bytes_an_image(backbone, frozen, pixels)
    if not reading_is_cheaper(
        backbone.row, frozen=frozen, image_size=pixels.shape[1], bytes_an_image=an_image, device=device
    ):
        yield Notice(
            message="The frozen stages are so few that they are computed again in each epoch, which is quicker."
        )
        return None
    needed = an_image * len(pixels)
    if needed > cache.room() * LARGEST_SHARE:
        yield Notice(
            message=(
                f"The frozen stages' output would take {needed / 1e9:.1f} GB, more than the cache has room for. "
                "It is computed again in each epoch instead, which is slower."
            )
        )
        return None
    with cache.entry("activations", key, whole=holds_array(np.float16, len(pixels))) as entry:
        path = entry.path
        if path is None:
            if device == "cpu":
                graph = yield from _prefix_graph(backbone, frozen, pixels.shape[1], cache, key)
                yield from run_graph(graph, "activations", pixels, entry.temporary, dtype=np.float16)
            else:
                yield from _run_torch(backbone, backbone.prefix(frozen), pixels, entry.temporary, device, np.float16)
            path = entry.commit()
        loaded: NDArray[np.float16] = np.load(path, mmap_mode="r", allow_pickle=False)
    return loaded


def embed_on_device(
    backbone: Backbone, pixels: NDArray[np.uint8], *, cache: Cache, key: str, device: str
) -> Generator[Event, None, NDArray[np.float32]]:
    """Embeddings (N, D) of `pixels` by torch on `device`, as `features.extract` gives them on a CPU; same key, same place.

    In float32 without TF32: they stand for the exported graph's answers, which bfloat16 would miss by more than 1e-3.

    Raises:
        DiskFull: no space is left.
        ModelError: the backbone gives values that are no numbers.
    """
    with cache.entry("features", key, whole=holds_array(np.float32, len(pixels))) as entry:
        path = entry.path
        if path is None:
            whole = backbone.prefix(len(backbone.stages))
            yield from _run_torch(backbone, whole, pixels, entry.temporary, device, np.float32)
            path = entry.commit()
        features: NDArray[np.float32] = np.load(path, allow_pickle=False)
    return features


def _bytes_an_image(backbone: Backbone, frozen: int, pixels: NDArray[np.uint8]) -> int:
    part = backbone.prefix(frozen).eval()
    with torch.inference_mode():
        one = part(backbone.normalise(torch.from_numpy(np.array(pixels[:1])).to(backbone.mean.device)))
    return int(one.numel()) * 2


def _prefix_graph(backbone: Backbone, frozen: int, size: int, cache: Cache, key: str) -> Generator[Event, None, Path]:
    # The pixels in the key make this graph one data set's own, which costs a second export for another data set and
    # spares this module from knowing which weights the backbone holds.
    with cache.entry("backbones", f"prefix-{key}", whole=holds_graph("activations")) as entry:
        if entry.path is not None:
            return entry.path
        yield Notice(message="Preparing the frozen stages for this data set, once.")
        export_prefix(backbone, frozen, size, entry.temporary)
        return entry.commit()


def _run_torch(
    backbone: Backbone,
    part: nn.Module,
    pixels: NDArray[np.uint8],
    into: Path,
    device: str,
    dtype: type[np.floating[Any]],
) -> Generator[Event, None, None]:
    backbone.to(device).eval()
    rows: np.memmap[Any, Any] | None = None
    pace = Pace("features", len(pixels))
    for start in range(0, len(pixels), GPU_BATCH):
        batch = torch.from_numpy(np.array(pixels[start : start + GPU_BATCH])).to(device)
        with torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            values = part(backbone.normalise(batch)).float().cpu().numpy()
        if rows is None:
            rows = new_rows(into, (len(pixels), *values.shape[1:]), dtype)
        write_rows(rows, start, values)
        event = pace.at(min(start + GPU_BATCH, len(pixels)))
        if event is not None:
            yield event
    if rows is not None:
        rows.flush()
