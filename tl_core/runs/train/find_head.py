"""What a run learns: its head on a frozen backbone, from features of every image by fits or gradient steps. Fits need no torch."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.events import Event, StageStarted
from tl_core.documents.report import ENOUGH_TEST_IMAGES, StageMoved
from tl_core.models.graphs.edit import head_tensors
from tl_core.models.graphs.export import ONNX_NAME, TENSORS_NAME, exported_backbone
from tl_core.runs.train.plan import Plan
from tl_core.training.head.fitted import TEST, Head, fit_cross_validated, fit_logistic, stratified_folds
from tl_core.training.head.solver import IN_MEMORY, Taken

if TYPE_CHECKING:
    from tl_core.models.build import Backbone


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


@dataclass(frozen=True, kw_only=True)
class Learned:
    """The outcome of training: a graph without its head, the head, and every tensor by the name in the library's network."""

    graph: Path
    weight: NDArray[np.float32]
    """(C, D), not divided by the temperature."""
    bias: NDArray[np.float32]
    """(C,)"""
    tensors: dict[str, NDArray[np.float32]]
    trainable: int
    total: int
    features: NDArray[np.float32] | None
    """(N, D), of all images, if the whole backbone stayed frozen; else None, and the graph has to be run."""
    out_of_fold: OutOfFold | None = None
    """Where cross-validation chose the head's settings: what it answered to the pictures outside the test."""
    backbone: Backbone | None = None
    """The trained network, where it answers the held-out pictures itself, on a device other than the CPU; else None."""
    moved: tuple[StageMoved, ...] = ()
    """The stages from the stem up; empty if the whole backbone stayed frozen."""


def learn_head(plan: Plan, pixels: NDArray[np.uint8], workshop: Path) -> Generator[Event, None, Learned]:
    """Find the head of the frozen backbone on `pixels` uint8 (N, S, S, 3); no file is written to `workshop`.

    Raises:
        WeightsUnavailable, DownloadFailed: the pretrained weights are neither here nor can be downloaded.
        DeviceError: torch cannot use the device.
        DiskFull: no space is left.
        ModelError: the backbone gives values that are not finite, or cannot be exported.
    """
    del workshop  # for training that writes a graph
    from safetensors.numpy import load_file

    yield from exported_backbone(plan.network, plan.weights.name, plan.spec.image_size, plan.cache)
    fitted = yield from fitted_head(plan, pixels)
    # Minutes may have passed, in which the cache may have dropped the backbone: it is marked as used, or exported again.
    exported = yield from exported_backbone(plan.network, plan.weights.name, plan.spec.image_size, plan.cache)
    trainable = plan.network.head_parameters(len(plan.classes))
    head = fitted.head
    return Learned(
        graph=exported / ONNX_NAME,
        weight=head.weight,
        bias=head.bias,
        tensors={**load_file(exported / TENSORS_NAME), **head_tensors(plan.network, head.weight, head.bias)},
        trainable=trainable,
        total=plan.network.backbone_parameters + trainable,
        features=fitted.features,
        out_of_fold=fitted.out_of_fold,
    )


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
    yield StageStarted(stage="training", title="Fitting the last layer")
    nested = len(test) > 0 and not plan.manifest.own_splits and not plan.one_moment
    rows = np.sort(np.concatenate([learned, test])) if nested else learned
    fold_of = np.full(len(plan.labels), TEST)
    fold_of[learned] = folds
    answers = yield from fit_cross_validated(
        Taken(features, rows),
        plan.labels[rows],
        fold_of[rows],
        classes=len(plan.classes),
        balanced=plan.spec.recipe.class_weights,
        nested=nested,
        pairs=len(test) < ENOUGH_TEST_IMAGES,
    )
    return Found(
        features, answers.head, OutOfFold(learned, answers.logits, int(folds.max()) + 1, answers.nested, answers.c)
    )


def _head(plan: Plan, features: NDArray[np.float32]) -> Generator[Event, None, Head]:
    """The head that learns from the training split alone, while the validation split chooses."""
    rows, classes, spec = (plan.rows("train"), plan.rows("val")), len(plan.classes), plan.spec
    if spec.solver == "adam" and not plan.strategy.takes_steps:
        from tl_core.training.loop.fit import trained_head

        yield StageStarted(stage="training", title="Training the last layer")
        return (
            yield from trained_head(
                plan.network, features, plan.labels, *rows, classes=classes, spec=spec, strategy=plan.strategy
            )
        )
    yield StageStarted(stage="training", title="Fitting the last layer")
    balanced = spec.recipe.class_weights
    return (yield from fit_logistic(features, plan.labels, *rows, classes=classes, balanced=balanced))
