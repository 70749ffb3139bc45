"""Looks at the pictures of a data set with a pretrained backbone: for those that show the same thing, and for wrong labels.

Pixels and features are computed as a run with that backbone would compute them, so such a run finds them in the cache. The groups are kept
there, too, so that the same pictures under the same names and labels are compared once.
"""

import hashlib
from collections.abc import Generator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tl_core import settings
from tl_core.data import groups
from tl_core.data.cache import holds_array
from tl_core.data.checks import problem
from tl_core.data.pixel_arrays import load_pixels
from tl_core.data.split import group_keys
from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.documents.manifest import Manifest, Suspicion
from tl_core.documents.options import DEFAULT_NETWORK
from tl_core.documents.report import SuspectLabel
from tl_core.errors import Cancelled, GraftError, WeightsUnavailable
from tl_core.evaluation.calibration import temperature
from tl_core.evaluation.metrics import probabilities
from tl_core.evaluation.suspects import suspect_labels
from tl_core.hardware import available_mb
from tl_core.models.graphs.export import exported_backbone
from tl_core.models.registry import network
from tl_core.models.weights.obtain import available
from tl_core.runs.process.devices import time_processor
from tl_core.runs.store.store import Store
from tl_core.training.frozen.features import computed_key, features_before, features_key, frozen_features
from tl_core.training.head.fitted import fit_cross_validated, stratified_folds
from tl_core.training.head.solver import IN_MEMORY, Features

_NEEDED_MB = 1_000
"""Memory that must be free: what the first export of the backbone takes, or its run and the reduced pictures."""
_NOT_LOOKED = "Near-copies were not looked for"
MOST = 200_000
"""Pictures times classes that are judged while pictures are read: about a minute on one core."""


class Seen(NamedTuple):
    """What a backbone is given, and what it makes of it."""

    pixels: NDArray[np.uint8]
    """(N, S, S, 3), of all pictures."""
    features: NDArray[np.float32]
    """(N, D), or (M, D) of those that are needed."""


class Judged(NamedTuple):
    """What the heads of cross-validation say of labels."""

    suspects: tuple[SuspectLabel, ...]
    """The least likely labels first; their rows are those of the features."""
    accuracy: float
    """Share of the pictures that were answered as they are labelled."""
    c: float
    """Inverse strength of the penalty that was chosen."""


def seen(
    dataset: Path,
    manifest: Manifest,
    name: str,
    *,
    device: str = "cpu",
    only: NDArray[np.integer] | None = None,
    title: str = "Looking at every picture once",
) -> Generator[Event, None, Seen]:
    """What the backbone called `name`, with its default weights, makes of the images of `manifest`, whose copies are in `dataset`/images.

    It is cached under the keys of training. `only` (M,) are the rows of those that are needed; the others are not run through the backbone.

    Raises:
        WeightsUnavailable, DownloadFailed: the pretrained weights cannot be had.
        OverBudget, DiskFull: the cache or the disk has no room.
    """
    backbone, cache = network(name), Store.default().cache
    weights = backbone.weights_row()
    size = weights.input_size
    pixels = yield from load_pixels(dataset, manifest, size=size, interpolation=weights.interpolation, cache=cache)
    if device == "cpu":
        # An export has a stage of its own, before that of the features.
        yield from exported_backbone(backbone, weights.name, size, cache)
    yield StageStarted(stage="features", title=title)
    key = features_key(manifest, backbone, weights.name, size)
    if only is not None and cache.get("features", key) is None:
        key = computed_key(key, hashlib.sha256(only.astype(np.int64).tobytes()).hexdigest())
        some = np.ascontiguousarray(pixels[only])
        features = yield from frozen_features(some, backbone, weights.name, device=device, cache=cache, key=key)
        return Seen(pixels, features)
    before = features_before(manifest, backbone, weights.name, size)
    features = yield from frozen_features(
        pixels, backbone, weights.name, device=device, cache=cache, key=key, before=before
    )
    return Seen(pixels, features if only is None else features[only])


def with_groups(dataset: Path, manifest: Manifest, *, judged: bool = True) -> Generator[Event, None, Manifest]:
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
        return (yield from _grouped(dataset, manifest, judged))
    except Cancelled:
        raise
    except GraftError as error:
        yield Notice(level="warning", message=f"{_NOT_LOOKED}: {error.message}")
        return manifest


def _grouped(dataset: Path, manifest: Manifest, judged: bool) -> Generator[Event, None, Manifest]:
    backbone, cache = network(DEFAULT_NETWORK), Store.default().cache
    weights = backbone.weights_row()
    if not available(backbone, weights.name):
        raise WeightsUnavailable(f"the weights of {backbone.name} are not on this machine.")
    # What the search sees beside features and pixels.
    searched = (f"{image.label} {image.width} {image.height} {image.name}" for image in manifest.images)
    features_of = features_key(manifest, backbone, weights.name, weights.input_size)
    key = computed_key(features_of, str(groups.GROUPS_VERSION), *searched)
    sight: Seen | None = None
    with cache.entry("groups", key, whole=holds_array(np.intp, len(manifest.images))) as entry:
        path = entry.path
        if path is None:
            time_processor((yield from exported_backbone(backbone, weights.name, weights.input_size, cache)))
            yield StageStarted(stage="preparing", title="Preparing the pictures")
            sight = yield from seen(dataset, manifest, DEFAULT_NETWORK)
            yield StageStarted(stage="groups", title="Looking for pictures that show the same thing")
            searched_groups = yield from groups.find_groups(manifest.images, sight.features, sight.pixels)
            with entry.temporary.open("wb") as file:
                np.save(file, searched_groups)
            path = entry.commit()
        group_of = np.load(path, allow_pickle=False)
    images = tuple(
        image if group < 0 else image.model_copy(update={"group": group})
        for image, group in zip(manifest.images, group_of.tolist(), strict=True)
    )
    grouped = manifest.model_copy(update={"images": images, "grouped": True})
    if not judged:
        return grouped
    if sight is None:
        yield StageStarted(stage="preparing", title="Preparing the pictures")
        sight = yield from seen(dataset, manifest, DEFAULT_NETWORK)
    return (yield from with_suspicions(grouped, sight.features))


def with_suspicions(manifest: Manifest, features: NDArray[np.float32]) -> Generator[Event, None, Manifest]:
    """`manifest` with a suspicion in each image whose label is probably wrong; `features` (N, D) are those of its images.

    It comes back as it was where no run can start on it, or where a class cannot be divided into folds. So it does, with a notice, where
    there are more than `MOST` pictures times classes, or more features than a head is fitted on in memory.
    """
    labels = np.array([image.label for image in manifest.images], dtype=np.int64)
    folds = None if problem(manifest) else stratified_folds(labels, group_keys(manifest))
    if folds is None:
        return manifest
    classes = len(manifest.classes)
    if len(labels) * classes > MOST or features.nbytes > IN_MEMORY:
        yield Notice(
            message="The labels were not judged, which would take long. The Data page looks for wrong ones on request."
        )
        return manifest
    judged = yield from judge(features, labels, folds, classes=classes)
    images = list(manifest.images)
    for suspect in judged.suspects:
        names = {"label": manifest.classes[suspect.label], "suggested": manifest.classes[suspect.suggested]}
        suspicion = Suspicion(**suspect.model_dump(exclude={"row"}) | names)
        images[suspect.row] = images[suspect.row].model_copy(update={"suspicion": suspicion})
    return manifest.model_copy(update={"images": tuple(images)})


def judge(
    features: Features, labels: NDArray[np.integer], folds: NDArray[np.integer], *, classes: int
) -> Generator[Event, None, Judged]:
    """Cross-validate heads on `features` (N, D) and judge `labels` (N,), 0 to `classes` - 1, by their calibrated out-of-fold answers.

    `folds` (N,) are those of `stratified_folds`.

    Raises:
        ValueError: shapes do not fit, or a head would lack a class.
    """
    yield StageStarted(stage="training", title="Asking heads that have not seen the picture")
    answers = yield from fit_cross_validated(features, labels, folds, classes=classes)
    return judged_by(probabilities(answers.logits / temperature(answers.logits, labels)), answers.c, labels)


def judged_by(answers: NDArray[np.floating], c: float, labels: NDArray[np.integer]) -> Judged:
    """What calibrated out-of-fold `answers` (N, C) of heads with the inverse penalty strength `c` say of `labels` (N,)."""
    return Judged(suspect_labels(answers, labels), float((answers.argmax(axis=1) == labels).mean()), c)
