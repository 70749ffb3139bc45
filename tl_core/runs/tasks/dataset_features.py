"""The frozen features of a data set, for the tasks that need nothing else of its pictures."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from tl_core.data.pixel_arrays import load_pixels
from tl_core.documents.events import Event, StageStarted
from tl_core.models.registry import network
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Store
from tl_core.training.frozen.features import features_before, features_key, frozen_features


def features_of(dataset: DatasetFolder, name: str) -> Generator[Event, None, NDArray[np.float32]]:
    """What the backbone called `name`, with its default weights, makes of each image of `dataset`: (N, D), cached under the keys of training.

    Raises:
        WeightsUnavailable, DownloadFailed: the pretrained weights cannot be had.
        OverBudget, DiskFull: the cache or the disk has no room.
    """
    manifest, backbone, cache = dataset.manifest(), network(name), Store.default().cache
    weights = backbone.weights_row()
    size = weights.input_size
    pixels = yield from load_pixels(dataset.path, manifest, size=size, interpolation=weights.interpolation, cache=cache)
    yield StageStarted(stage="features", title="Looking at every picture once")
    return (
        yield from frozen_features(
            pixels,
            backbone,
            weights.name,
            device="cpu",
            cache=cache,
            key=features_key(manifest, backbone, weights.name, size),
            before=features_before(manifest, backbone, weights.name, size),
        )
    )
