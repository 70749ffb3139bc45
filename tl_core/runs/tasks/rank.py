"""Which backbone suits a data set: each is scored on its frozen features of the training images.

The features of all images are cached under the keys of training, so a run with the best backbone finds them there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from tl_core.data.cache import Cache
from tl_core.data.pixel_arrays import load_pixels
from tl_core.data.split import assign
from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.documents.tasks import RankedBackbone, Ranking, RankSpec
from tl_core.errors import Cancelled, DiskFull, GraftError, ModelError
from tl_core.models.graphs.export import exported_backbone
from tl_core.models.registry import Network, network
from tl_core.runs.process.devices import resolve_device, slowness
from tl_core.runs.store.folders import DatasetFolder, TaskFolder
from tl_core.runs.store.store import Store
from tl_core.runs.tasks.subject import dataset_of
from tl_core.training.frozen.features import computed_key, features_before, features_key, frozen_features
from tl_core.training.speed.estimate import forward_seconds
from tl_core.training.transferability import MOST_IMAGES, stratified, transferability


def answer(task: TaskFolder) -> Generator[Event, None, Ranking]:
    """Score the backbones of the task, each with its default weights at their own image size, on the images of its data set.

    A backbone that cannot be scored is noted with the reason, and the others go on. The best comes first: by the accuracy
    of the cross-validated head, then by LogME.

    Raises:
        ModelError: no backbone could be scored; the message says why the first could not.
        DataError: no head can be fitted on these images.
        DiskFull: no space is left.
    """
    from tl_core.data.checks import require_trainable

    spec, cache = task.spec_as(RankSpec), Store.default().cache
    pictures = _Pictures(dataset_of(spec), spec.seed)
    manifest = pictures.manifest
    require_trainable(manifest)
    names = list(dict.fromkeys(spec.backbones))
    rows: list[RankedBackbone] = []
    failed: dict[str, str] = {}
    if pictures.thinned:
        yield Notice(
            message=f"{len(pictures.scored):,} of the training pictures are looked at, of every class its share."
        )
    for number, name in enumerate(names, start=1):
        title = f"{name}, backbone {number} of {len(names)}"
        yield StageStarted(stage="preparing", title=title)
        try:
            rows.append((yield from _score(spec, network(name), pictures, cache, title)))
        except (Cancelled, DiskFull):
            raise
        except GraftError as error:
            failed[name] = error.message
            yield Notice(level="warning", message=f"{name} could not be scored: {error.message}")
    if not rows:
        raise ModelError(f"No backbone could be scored. {names[0]}: {failed[names[0]]}")
    rows.sort(key=lambda row: (-row.accuracy, -row.logme))
    return Ranking(images=len(pictures.scored), classes=len(manifest.classes), rows=tuple(rows), failed=failed)


class _Pictures:
    """The images of one data set, and which of them are scored."""

    def __init__(self, dataset: DatasetFolder, seed: int) -> None:
        self.folder = dataset.path
        self.manifest = dataset.manifest()
        self.labels: NDArray[np.int64] = np.array([image.label for image in self.manifest.images], dtype=np.int64)
        learnt = np.flatnonzero(assign(self.manifest, seed) == "train")
        self.scored = learnt[stratified(self.labels[learnt], MOST_IMAGES, seed)]
        """Indices into the manifest's images: of the training split, at most `MOST_IMAGES`."""
        self.thinned = len(self.scored) < len(learnt)

    def part(self) -> str:
        """A hash of the scored indices, for a cache key."""
        return hashlib.sha256(np.ascontiguousarray(self.scored, dtype=np.int64).tobytes()).hexdigest()


def _score(
    spec: RankSpec, backbone: Network, pictures: _Pictures, cache: Cache, title: str
) -> Generator[Event, None, RankedBackbone]:
    weights, device = backbone.weights_row(), resolve_device(spec.device)
    size = weights.input_size
    pixels = yield from load_pixels(
        pictures.folder, pictures.manifest, size=size, interpolation=weights.interpolation, cache=cache
    )
    if device == "cpu":
        yield from exported_backbone(backbone, weights.name, size, cache)
    yield StageStarted(stage="features", title=title)
    key = features_key(pictures.manifest, backbone, weights.name, size)
    if pictures.thinned and cache.get("features", key) is None:
        # With so many images, only those that are scored are run through each backbone.
        some, key = np.ascontiguousarray(pixels[pictures.scored]), computed_key(key, pictures.part())
        features = yield from frozen_features(some, backbone, weights.name, device=device, cache=cache, key=key)
    else:
        before = features_before(pictures.manifest, backbone, weights.name, size)
        every = yield from frozen_features(
            pixels, backbone, weights.name, device=device, cache=cache, key=key, before=before
        )
        features = every[pictures.scored]
    found = transferability(features, pictures.labels[pictures.scored], spec.seed)
    return RankedBackbone(
        backbone=backbone.name,
        weights=weights.name,
        accuracy=found.accuracy,
        interval=found.interval,
        logme=found.logme,
        similar=found.similar,
        seconds=slowness(device) * forward_seconds(backbone, size, device) * len(pixels),
    )
