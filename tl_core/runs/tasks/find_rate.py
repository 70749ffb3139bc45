"""Finds a learning rate for a run: builds the network and inputs that it would train with, and runs the range test on them.

Needs torch. What frozen stages compute stays in the cache, where the run finds it.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
import torch
from numpy.typing import NDArray

from tl_core.disk import remove
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.tasks import FindRateSpec, RateCurve
from tl_core.models.build import Backbone
from tl_core.runs.store.folders import RunFolder, TaskFolder
from tl_core.runs.train.fine_tune import built, prepared
from tl_core.runs.train.plan import Plan
from tl_core.runs.train.resolve import prepare
from tl_core.runs.train.run_features import run_features
from tl_core.training.head.fitted import Head, class_weights
from tl_core.training.head.logistic import Scaling
from tl_core.training.loop.fit import set_fitted_head
from tl_core.training.loop.inputs import Inputs, torch_device
from tl_core.training.loop.range_test import find_rate
from tl_core.training.loop.steps import Trainer


def answer(task: TaskFolder) -> Generator[Event, None, RateCurve]:
    """The range test of a run, which exists as a folder for as long as the test takes.

    Raises:
        WeightsUnavailable, DownloadFailed: the pretrained weights cannot be had.
        DeviceError: not even one picture fits the device's memory.
        ModelError: the loss is no number from the start.
        DiskFull: no space is left.
    """
    run = RunFolder(task.path / "run")
    run.write_spec(task.spec_as(FindRateSpec).train)
    plan = Plan(run)
    pixels = yield from prepare(plan)
    backbone = yield from built(plan)
    if plan.strategy.takes_steps:
        frozen, inputs = yield from prepared(plan, backbone, pixels)
    else:
        frozen, inputs = len(backbone.stages), (yield from _scaled_features(plan, backbone, pixels))
    spec, train = plan.spec, plan.rows("train")
    torch.manual_seed(spec.seed)
    trainer = Trainer(
        backbone,
        inputs,
        plan.labels,
        spec=spec,
        strategy=plan.strategy,
        frozen=frozen,
        class_weights=class_weights(plan.labels[train]) if spec.recipe.class_weights else None,
    )
    yield StageStarted(stage="training", title="Trying learning rates")
    curve = yield from find_rate(trainer, train, spec)
    remove(run.path)
    return curve


def _scaled_features(plan: Plan, backbone: Backbone, pixels: NDArray[np.uint8]) -> Generator[Event, None, Inputs]:
    """What the head alone learns from: features scaled as for the fitted head, and a head of zeros."""
    yield StageStarted(stage="features", title="Looking at every picture once")
    features = yield from run_features(plan, pixels)
    classes, width = len(plan.classes), features.shape[1]
    zeros = np.zeros((classes, width), dtype=np.float32), np.zeros(classes, dtype=np.float32)
    set_fitted_head(backbone, Head(*zeros, c=None, val_accuracy=0.0, val_loss=0.0))
    scaled = Scaling.of(features[plan.rows("train")]).apply(features)
    return Inputs.of_activations(scaled, device=torch_device(plan.spec.device))
