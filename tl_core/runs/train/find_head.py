"""A run's head on a frozen backbone: features of every image, then a fit or gradient steps. A fit needs no torch."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.events import Event, StageStarted
from tl_core.runs.train.plan import Plan
from tl_core.training.frozen.features import frozen_features

if TYPE_CHECKING:
    from tl_core.training.head.fitted import Head


def fitted_head(plan: Plan, pixels: NDArray[np.uint8]) -> Generator[Event, None, tuple[NDArray[np.float32], Head]]:
    """The frozen backbone's features (N, D) of all rows, and the head on them, which the plan's solver finds.

    Raises:
        WeightsUnavailable, DownloadFailed: the pretrained weights cannot be had.
        DeviceError: torch cannot use the device.
        DiskFull: no space is left.
        ModelError: the backbone gives values that are not finite, or cannot be exported.
    """
    yield StageStarted(stage="features", title="Looking at every picture once")
    features = yield from frozen_features(
        pixels, plan.network, plan.weights.name, device=plan.spec.device, cache=plan.cache, key=plan.key()
    )
    return features, (yield from _head(plan, features))


def _head(plan: Plan, features: NDArray[np.float32]) -> Generator[Event, None, Head]:
    train, val, spec = plan.rows("train"), plan.rows("val"), plan.spec
    if spec.solver == "adam" and not plan.strategy.takes_steps:
        from tl_core.training.head.trained import fit_by_steps

        yield StageStarted(stage="training", title="Training the last layer")
        return (
            yield from fit_by_steps(
                features[train],
                plan.labels[train],
                features[val],
                plan.labels[val],
                classes=len(plan.classes),
                spec=spec,
            )
        )
    from tl_core.training.head.fitted import fit_logistic
    from tl_core.training.head.logistic import Taken

    yield StageStarted(stage="training", title="Fitting the last layer")
    return (
        yield from fit_logistic(
            Taken(features, train),
            plan.labels[train],
            Taken(features, val),
            plan.labels[val],
            classes=len(plan.classes),
            balanced=spec.recipe.class_weights,
        )
    )
