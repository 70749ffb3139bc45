"""Judges the labels of a data set by heads on its frozen features, each of which has not seen the picture in question."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.documents.manifest import Manifest, Suspicion
from tl_core.documents.report import SuspectLabel

if TYPE_CHECKING:
    from tl_core.training.head.solver import Features

MOST = 200_000
"""Pictures times classes that are judged while pictures are read: about a minute on one core."""


class Judged(NamedTuple):
    """What the heads of cross-validation say of labels."""

    suspects: tuple[SuspectLabel, ...]
    """The least likely labels first; their rows are those of the features."""
    accuracy: float
    """Share of the pictures that were answered as they are labelled."""
    c: float
    """Inverse strength of the penalty that was chosen."""


def judge(
    features: Features, labels: NDArray[np.integer], folds: NDArray[np.integer], *, classes: int
) -> Generator[Event, None, Judged]:
    """Cross-validate heads on `features` (N, D) and judge `labels` (N,), 0 to `classes` - 1, by their calibrated out-of-fold answers.

    `folds` (N,) are those of `stratified_folds`.

    Raises:
        ValueError: shapes do not fit, or a head would lack a class.
    """
    from tl_core.evaluation.metrics import probabilities
    from tl_core.training.head.fitted import fit_cross_validated
    from tl_core.training.head.temperature import temperature

    yield StageStarted(stage="training", title="Asking heads that have not seen the picture")
    found = yield from fit_cross_validated(features, labels, folds, classes=classes)
    return judged_by(probabilities(found.logits / temperature(found.logits, labels)), found.c, labels)


def judged_by(answers: NDArray[np.floating], c: float, labels: NDArray[np.integer]) -> Judged:
    """What calibrated out-of-fold `answers` (N, C) of heads with the inverse penalty strength `c` say of `labels` (N,)."""
    from tl_core.evaluation.suspects import suspect_labels

    return Judged(suspect_labels(answers, labels), float((answers.argmax(axis=1) == labels).mean()), c)


def with_suspicions(manifest: Manifest, features: NDArray[np.float32]) -> Generator[Event, None, Manifest]:
    """`manifest` with a suspicion in each image whose label is probably wrong; `features` (N, D) are those of its images.

    It comes back as it was where no run can start on it, or where a class cannot be divided into folds. So it does, with a notice, where
    there are more than `MOST` pictures times classes, or more features than a head is fitted on in memory.
    """
    from tl_core.data.checks import problem
    from tl_core.data.split import group_keys
    from tl_core.training.head.folds import stratified_folds
    from tl_core.training.head.solver import IN_MEMORY

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
    for one in judged.suspects:
        names = {"label": manifest.classes[one.label], "suggested": manifest.classes[one.suggested]}
        suspicion = Suspicion(**one.model_dump(exclude={"row"}) | names)
        images[one.row] = images[one.row].model_copy(update={"suspicion": suspicion})
    return manifest.model_copy(update={"images": tuple(images)})
