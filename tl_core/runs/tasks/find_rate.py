"""Finds a learning rate for a run: builds the network and inputs that it would train with, and runs the range test on them.

Needs torch. What frozen stages compute stays in the cache, where the run finds it.
"""

from __future__ import annotations

from collections.abc import Generator

import torch

from tl_core.disk import remove
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.tasks import FindRateSpec, RateCurve
from tl_core.runs.store.folders import RunFolder, TaskFolder
from tl_core.runs.train.fine_tune import built, prepared
from tl_core.runs.train.plan import Plan
from tl_core.runs.train.resolve import prepare
from tl_core.runs.train.run_features import run_features
from tl_core.training.head.fitted import class_weights
from tl_core.training.loop.head_alone import HeadAlone
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
    train = plan.rows("train")
    if plan.strategy.takes_steps:
        backbone = yield from built(plan)
        frozen, inputs = yield from prepared(plan, backbone, pixels)
    else:
        yield StageStarted(stage="features", title="Looking at every picture once")
        features = yield from run_features(plan, pixels)
        alone = HeadAlone(plan.network, features, train, classes=len(plan.classes), device=plan.spec.device)
        backbone, frozen, inputs = alone.backbone, 0, alone.inputs
    spec = plan.spec
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
