"""A run's head on a frozen backbone: features of every image, then fits or gradient steps. Fits need no torch."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.events import Event, StageStarted
from tl_core.documents.report import ENOUGH_TEST_IMAGES
from tl_core.runs.train.plan import Plan
from tl_core.training.head.fitted import stratified_folds
from tl_core.training.head.solver import IN_MEMORY, Taken

if TYPE_CHECKING:
    from tl_core.training.head.fitted import Head


@dataclass(frozen=True)
class OutOfFold:
    """Answers to pictures by heads that had seen neither the picture nor its group."""

    rows: NDArray[np.intp]
    """(M,)"""
    logits: NDArray[np.float32]
    """(M, C), before any temperature."""
    folds: int
    """How many folds `rows` were divided into."""
    nested: NDArray[np.float32] | None
    """(N, C) for every row that is in a part, the test included, by nested cross-validation, divided by the temperature; None on a split
    of the user's own, and where a class is all of one moment."""
    c: float
    """Inverse strength of the penalty of the head that learned from `rows`."""


@dataclass(frozen=True)
class Found:
    """A head on frozen features, and what was found out on the way to it."""

    features: NDArray[np.float32]
    """(N, D), of all rows."""
    head: Head
    out_of_fold: OutOfFold | None = None
    """Where cross-validation chose: the answers to all pictures that the head learned from, with its own penalty."""


def fitted_head(plan: Plan, pixels: NDArray[np.uint8]) -> Generator[Event, None, Found]:
    """The frozen backbone's features of all rows, and the head on them, which the plan's solver finds.

    Where the head alone is fitted, cross-validation over training and validation split chooses its settings, and it learns from
    both. Where training starts from it, or gradient steps find it, it learns from the training split. So it does where the features
    exceed `IN_MEMORY` bytes, since there are thousands of validation pictures then, or where a class cannot be divided into folds.

    Raises:
        WeightsUnavailable, DownloadFailed: the pretrained weights cannot be had.
        DeviceError: torch cannot use the device.
        DiskFull: no space is left.
        ModelError: the backbone gives values that are not finite, or cannot be exported.
    """
    yield StageStarted(stage="features", title="Looking at every picture once")
    features = yield from plan.features(pixels)
    folds = None
    if plan.spec.solver == "logistic" and not plan.strategy.takes_steps and features.nbytes <= IN_MEMORY:
        learned, test = plan.rows("train", "val"), plan.rows("test")
        folds = stratified_folds(plan.labels[learned], plan.groups[learned])
    if folds is None:
        return Found(features, (yield from _head(plan, features)))
    from tl_core.training.head.fitted import TEST, fit_cross_validated

    yield StageStarted(stage="training", title="Fitting the last layer")
    nested = len(test) > 0 and not plan.manifest.own_splits and not plan.one_moment
    rows = np.sort(np.concatenate([learned, test])) if nested else learned
    fold_of = np.full(len(plan.labels), TEST)
    fold_of[learned] = folds
    found = yield from fit_cross_validated(
        Taken(features, rows),
        plan.labels[rows],
        fold_of[rows],
        classes=len(plan.classes),
        balanced=plan.spec.recipe.class_weights,
        nested=nested,
        pairs=len(test) < ENOUGH_TEST_IMAGES,
    )
    return Found(features, found.head, OutOfFold(learned, found.logits, int(folds.max()) + 1, found.nested, found.c))


def _head(plan: Plan, features: NDArray[np.float32]) -> Generator[Event, None, Head]:
    """The head that learns from the training split alone, while the validation split chooses."""
    rows, classes, spec = (plan.rows("train"), plan.rows("val")), len(plan.classes), plan.spec
    if spec.solver == "adam" and not plan.strategy.takes_steps:
        from tl_core.training.loop.head_alone import trained_head

        yield StageStarted(stage="training", title="Training the last layer")
        return (
            yield from trained_head(
                plan.network, features, plan.labels, *rows, classes=classes, spec=spec, strategy=plan.strategy
            )
        )
    from tl_core.training.head.fitted import fit_logistic

    yield StageStarted(stage="training", title="Fitting the last layer")
    balanced = spec.recipe.class_weights
    return (yield from fit_logistic(features, plan.labels, *rows, classes=classes, balanced=balanced))
