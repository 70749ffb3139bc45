"""The frozen features of a data set, for the tasks that need nothing else of its pictures."""

import hashlib
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from tl_core.data.pixel_arrays import load_pixels
from tl_core.documents.events import Event, StageStarted
from tl_core.models.graphs.export import exported_backbone
from tl_core.models.registry import network
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Store
from tl_core.training.frozen.features import computed_key, features_before, features_key, frozen_features


def features_of(
    dataset: DatasetFolder,
    name: str,
    *,
    device: str = "cpu",
    only: NDArray[np.integer] | None = None,
    title: str = "Looking at every picture once",
) -> Generator[Event, None, NDArray[np.float32]]:
    """What the backbone called `name`, with its default weights, makes of the images of `dataset`: (N, D), cached under the keys of training.

    `only` (M,) are the rows of those that are needed, (M, D); the others are not run through the backbone.

    Raises:
        WeightsUnavailable, DownloadFailed: the pretrained weights cannot be had.
        OverBudget, DiskFull: the cache or the disk has no room.
    """
    manifest, backbone, cache = dataset.manifest(), network(name), Store.default().cache
    weights = backbone.weights_row()
    size = weights.input_size
    pixels = yield from load_pixels(dataset.path, manifest, size=size, interpolation=weights.interpolation, cache=cache)
    if device == "cpu":
        # An export has a stage of its own, before that of the features.
        yield from exported_backbone(backbone, weights.name, size, cache)
    yield StageStarted(stage="features", title=title)
    key = features_key(manifest, backbone, weights.name, size)
    before = features_before(manifest, backbone, weights.name, size)
    if only is not None and cache.get("features", key) is None:
        key = computed_key(key, hashlib.sha256(only.astype(np.int64).tobytes()).hexdigest())
        some = np.ascontiguousarray(pixels[only])
        return (yield from frozen_features(some, backbone, weights.name, device=device, cache=cache, key=key))
    every = yield from frozen_features(
        pixels, backbone, weights.name, device=device, cache=cache, key=key, before=before
    )
    return every if only is None else every[only]
