"""Looks for pictures of a data set that show the same thing, and for wrong labels, with the embedded backbone.

Pixels and features are computed as a run with that backbone would compute them, so such a run finds them in the cache. The groups are kept
there, too, so that the same pictures under the same names and labels are compared once.
"""

from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tl_core import settings
from tl_core.data.cache import Cache, holds_array
from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.documents.manifest import Manifest
from tl_core.documents.options import DEFAULT_NETWORK
from tl_core.errors import Cancelled, GraftError, WeightsUnavailable
from tl_core.hardware import available_mb
from tl_core.models.registry import Network, WeightsRow, network
from tl_core.models.weights.obtain import available
from tl_core.runs.process.devices import time_processor

_NEEDED_MB = 1_000
"""Memory that must be free: what the first export of the backbone takes, or its run and the reduced pictures."""
_NOT_LOOKED = "Near-copies were not looked for"


def with_groups(
    dataset: Path, manifest: Manifest, *, cache: Cache, judged: bool = True
) -> Generator[Event, None, Manifest]:
    """`manifest` with the groups of its images, whose copies are in `dataset`/images; `judged`: also with suspicions of their labels.

    It comes back as it was, with a notice that says why, where the operator does not want it, memory is short, the weights are not on this
    machine, or the cache has no room for pixels and features.
    """
    if not settings.current().find_groups:
        return manifest
    free = available_mb("cpu")
    if free is not None and free < _NEEDED_MB:
        yield Notice(message=f"{_NOT_LOOKED}: {free:,.0f} MB of memory are free, and it takes {_NEEDED_MB:,}.")
        return manifest
    try:
        return (yield from _grouped(dataset, manifest, cache, judged))
    except Cancelled:
        raise
    except GraftError as error:
        yield Notice(level="warning", message=f"{_NOT_LOOKED}: {error.message}")
        return manifest


def _grouped(dataset: Path, manifest: Manifest, cache: Cache, judged: bool) -> Generator[Event, None, Manifest]:
    from tl_core.data.groups import GROUPS_VERSION, find_groups
    from tl_core.runs.judging import with_suspicions
    from tl_core.training.frozen.features import computed_key, features_key

    backbone = network(DEFAULT_NETWORK)
    weights = backbone.weights_row()
    if not available(backbone, weights.name):
        raise WeightsUnavailable(f"the weights of {backbone.name} are not on this machine.")
    features_of = features_key(manifest, backbone, weights.name, weights.input_size)
    # What the search sees beside features and pixels.
    searched = (f"{image.label} {image.width} {image.height} {image.name}" for image in manifest.images)
    key = computed_key(features_of, str(GROUPS_VERSION), *searched)
    seen = None
    with cache.entry("groups", key, whole=holds_array(np.intp, len(manifest.images))) as entry:
        path = entry.path
        if path is None:
            seen = yield from _seen(dataset, manifest, backbone, weights, cache, features_of)
            yield StageStarted(stage="groups", title="Looking for pictures that show the same thing")
            found = yield from find_groups(manifest.images, seen.features, seen.pixels)
            with entry.temporary.open("wb") as file:
                np.save(file, found)
            path = entry.commit()
        groups = np.load(path, allow_pickle=False)
    images = tuple(
        image if group < 0 else image.model_copy(update={"group": group})
        for image, group in zip(manifest.images, groups.tolist(), strict=True)
    )
    grouped = manifest.model_copy(update={"images": images, "grouped": True})
    if not judged:
        return grouped
    seen = seen or (yield from _seen(dataset, manifest, backbone, weights, cache, features_of))
    return (yield from with_suspicions(grouped, seen.features))


class _Seen(NamedTuple):
    """What the backbone is given, and what it makes of it."""

    pixels: NDArray[np.uint8]
    """(N, S, S, 3)"""
    features: NDArray[np.float32]
    """(N, D)"""


def _seen(
    dataset: Path, manifest: Manifest, backbone: Network, weights: WeightsRow, cache: Cache, key: str
) -> Generator[Event, None, _Seen]:
    from tl_core.data.pixel_arrays import load_pixels
    from tl_core.models.graphs.export import exported_backbone
    from tl_core.training.frozen.features import frozen_features

    size = weights.input_size
    yield StageStarted(stage="preparing", title="Preparing the pictures")
    pixels = yield from load_pixels(dataset, manifest, size=size, interpolation=weights.interpolation, cache=cache)
    time_processor((yield from exported_backbone(backbone, weights.name, size, cache)))
    yield StageStarted(stage="features", title="Looking at every picture once")
    features = yield from frozen_features(pixels, backbone, weights.name, device="cpu", cache=cache, key=key)
    return _Seen(pixels, features)
