"""How the pictures of a data set lie to each other: a map of their frozen features, which are cached under the keys of training."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

from tl_core.data.cache import Cache
from tl_core.data.split import group_keys
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.questions.about_pictures import PictureMap, PictureMapSpec
from tl_core.errors import NotEnoughImages
from tl_core.evaluation.arrangement import FEWEST, all_lookalikes, arranged
from tl_core.models.registry import network
from tl_core.runs.questions.looking import features_of
from tl_core.runs.store.folders import DatasetFolder

MOST = 5_000
"""The most pictures of a map; of more, a sample is drawn. More dots hide each other, and their places take minutes."""


def picture_map(spec: PictureMapSpec, dataset: DatasetFolder, cache: Cache) -> Generator[Event, None, PictureMap]:
    """Arrange the images of `dataset`, or a sample of them, by their frozen features, and find the most similar ones of each.

    Raises:
        NotEnoughImages: there are too few images for a map.
        WeightsUnavailable, DownloadFailed: the pretrained weights cannot be had.
        OverBudget, DiskFull: the cache or the disk has no room.
    """
    manifest = dataset.manifest()
    if len(manifest.images) < FEWEST:
        raise NotEnoughImages(
            f"A map needs {FEWEST} pictures at least, and there are {len(manifest.images)}. Add some."
        )
    features = yield from features_of(dataset, network(spec.backbone), cache)
    count = len(manifest.images)
    drawn = np.random.default_rng(0).permutation(count)[:MOST]
    rows = np.sort(drawn)
    some = np.asarray(features[rows])
    labels = np.array([image.label for image in manifest.images], dtype=np.int64)[rows]
    yield StageStarted(stage="groups", title=f"Arranging {len(rows):,} pictures")
    other, near = all_lookalikes(some, labels, group_keys(manifest)[rows])
    places = np.round(arranged(some).astype(np.float64), 3)
    return PictureMap(
        rows=tuple(rows.tolist()),
        x=tuple(places[:, 0].tolist()),
        y=tuple(places[:, 1].tolist()),
        other=tuple(other.tolist()),
        lookalikes=tuple(
            one.model_copy(update={"of_label": _at(rows, one.of_label), "of_suggested": _at(rows, one.of_suggested)})
            for one in near
        ),
    )


def _at(rows: np.ndarray, places: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(rows[list(places)].tolist())
