"""What a run's spec leaves open until it runs: device, precision, strategy and estimate, found where the run runs."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from tl_core.data.checks import require_trainable
from tl_core.data.pixel_arrays import load_pixels
from tl_core.data.split import assign
from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.documents.job import Outlook
from tl_core.documents.spec import TrainSpec
from tl_core.errors import GraftError, LimitReached, SpecError
from tl_core.runs.process.devices import RealDevice, computes, expected_device, machine_of, resolve_device, unusable_gpu
from tl_core.runs.process.executor import works_here
from tl_core.runs.process.watch import most_memory_mb
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.train.estimating import estimated, with_estimate
from tl_core.runs.train.plan import Plan
from tl_core.runs.train.run_features import run_features
from tl_core.training.speed.estimate import Estimate, memory_refusal
from tl_core.training.strategies.advice import default_strategy
from tl_core.training.strategies.setup import Setup
from tl_core.training.strategies.strategies import AUTO, DEFAULT, HEAD_ONLY, misfit


def on_device(setup: Setup, device: RealDevice) -> Setup:
    """`setup` as it is computed on `device`: precision, pictures at once, memory layout.

    What a spec says that has run on such a machine and device is kept: training may have found that another precision or micro-batch
    does not fit. So is the estimate, unless it is that of another machine.
    """
    spec = setup.spec
    if spec.expected is not None and spec.expected.machine == machine_of(device):
        return setup.changed(device=device)
    layout, computed = device in setup.network.layout.channels_last, computes(device, spec.batch_size)._asdict()
    return setup.changed(device=device, channels_last=layout, estimated_seconds=None, expected=None, **computed)


def settled(setup: Setup, dataset: DatasetFolder, *, device: RealDevice | None = None) -> Setup:
    """`setup` as it runs on this machine: its device and how that computes, and what `default` stands for.

    `device`: the one to expect where the run will run on another machine. `auto` stays, for only the pictures decide it (`resolve`).

    Raises:
        DeviceError: the device is not on this machine.
        SpecError: the strategy does not fit the network.
    """
    spec = setup.spec
    device = device or resolve_device(spec.device)
    setup = on_device(setup, device)
    if spec.strategy == DEFAULT and spec.solver != "logistic":
        setup = setup.trained_as(HEAD_ONLY, reason=f"The solver {spec.solver} finds the head alone.")
    elif spec.strategy == DEFAULT:
        images = int((assign(dataset.manifest(), spec.seed) == "train").sum())
        choice = default_strategy(device, images)
        setup = setup.trained_as(choice.name, reason=choice.reason)
    problem = misfit(setup.row, setup.network, spec.stages) if setup.row else None
    if problem:
        raise SpecError(problem)
    return setup


def expected(setup: Setup, dataset: DatasetFolder) -> tuple[Setup, Estimate | None]:
    """`setup` as it would run here now, or where jobs run, and what it would take; None while only the pictures can say which strategy.

    Raises as `settled`.
    """
    setup = settled(setup, dataset, device=expected_device(setup.spec.device))
    return setup, estimated(setup, dataset) if setup.row else None


def after(spec: TrainSpec, epoch: int) -> TrainSpec:
    """A spec for the estimate of what is left of the run of `spec` after `epoch`."""
    return spec.model_copy(update={"epochs": max(1, spec.epochs - epoch), "estimated_seconds": None, "expected": None})


def outlook(spec: TrainSpec, dataset: DatasetFolder) -> Outlook:
    """What the run of `spec` is expected to take once its turn has come, as far as that is known on this machine now.

    Raises:
        LimitReached: it runs on this machine, and needs far more memory than one job may have here.
    """
    try:
        setup, estimate = expected(Setup.of(spec), dataset)
    except GraftError:
        # The worker meets the same and says it.
        return Outlook()
    if estimate is None:
        return Outlook()
    seconds = round(estimate.middle, 1)
    if setup.spec.device != "cpu":
        # On a GPU, the estimate is of the GPU's own memory.
        return Outlook(seconds=seconds)
    most = most_memory_mb()
    refusal = memory_refusal(estimate, most) if works_here() else None
    if refusal:
        raise LimitReached(refusal)
    return Outlook(seconds=seconds, memory_mb=round(min(estimate.memory_mb, most)))


def prepare(plan: Plan) -> Generator[Event, None, NDArray[np.uint8]]:
    """Settle the plan's spec for this machine, and prepare its pictures: uint8 (N, S, S, 3).

    Raises:
        DeviceError: the device is not on this machine.
        DataError: no classifier can be trained on the pictures, or a copy is missing or damaged.
        DiskFull: no space is left.
    """
    asked, before = plan.spec.device, plan.spec.expected
    plan.take(with_estimate(settled(plan.setup, plan.dataset), plan.dataset))
    unused = unusable_gpu() if asked == "auto" else None
    if unused:
        yield Notice(level="warning", message=unused)
    if asked == "auto" and before and before.machine.partition(":")[0] != plan.spec.device:
        yield Notice(
            message=f"It was trained on another device ({before.machine}), which is not here now. It goes on on {plan.spec.device!r}."
        )
    require_trainable(plan.manifest)
    plan.keep_split()
    return (
        yield from load_pixels(
            plan.dataset.path,
            plan.manifest,
            size=plan.spec.image_size,
            interpolation=plan.weights.interpolation,
            cache=plan.cache,
        )
    )


def resolve(plan: Plan, pixels: NDArray[np.uint8]) -> Generator[Event, None, None]:
    """Put the strategy that the rule takes in the place of `auto`, in the plan and in the run's spec.

    Whether the pictures are similar to what the backbone knows is measured on their frozen features, where the rule asks.

    Raises:
        WeightsUnavailable, DownloadFailed: the pretrained weights cannot be had.
        DeviceError: torch cannot use the device.
        DiskFull: no space is left.
        ModelError: the backbone gives values that are not finite, or cannot be exported.
    """
    if plan.spec.strategy != AUTO:
        return
    from tl_core.training.strategies.advice import advise, needs_similarity
    from tl_core.training.transferability import transferability

    yield StageStarted(stage="features", title="Finding out which strategy suits these pictures")
    train = plan.rows("train")
    similar: bool | None = None
    if needs_similarity(len(train)):
        features = yield from run_features(plan, pixels)
        found = transferability(features[train], plan.labels[train], plan.spec.seed)
        yield Notice(message=found.said(plan.network.name))
        similar = found.similar
    advice = advise(len(train), similar, plan.network, stages=plan.spec.stages)
    chosen = advice.strategy or HEAD_ONLY
    plan.take(with_estimate(plan.setup.trained_as(chosen, reason=advice.reason), plan.dataset))
    yield Notice(message=f"The strategy is {plan.strategy.title!r} ({chosen}). {advice.reason}")
