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
from tl_core.models.registry import network
from tl_core.runs.process.devices import RealDevice, computes, expected_device, machine_of, resolve_device, unusable_gpu
from tl_core.runs.process.executor import works_here
from tl_core.runs.process.watch import most_memory_mb
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.train.estimating import estimated, with_estimate
from tl_core.runs.train.plan import Plan
from tl_core.runs.train.run_features import run_features
from tl_core.training.speed.estimate import memory_refusal
from tl_core.training.strategies.advice import default_strategy
from tl_core.training.strategies.strategies import AUTO, DEFAULT, HEAD_ONLY, misfit, strategy, tuned


def with_strategy(spec: TrainSpec, chosen: str, *, reason: str | None = None) -> TrainSpec:
    """`spec` with the strategy called `chosen`: its epochs and recipe, with what the user changed. `reason`: why this one.

    Raises:
        UnknownName: there is no such strategy.
        SpecError: it does not fit the backbone.
    """
    backbone = network(spec.backbone)
    own = tuned(strategy(chosen), backbone)
    problem = misfit(own, backbone, spec.stages)
    if problem:
        raise SpecError(problem)
    wanted = {name: value for name, value in spec.changes.items() if name != "stages"}
    epochs = int(wanted.pop("epochs", None) or own.epochs or 1)
    recipe = own.recipe.changed(wanted)
    return spec.model_copy(update={"strategy": own.name, "reason": reason, "epochs": epochs, "recipe": recipe})


def settled(spec: TrainSpec, dataset: DatasetFolder, *, device: RealDevice | None = None) -> TrainSpec:
    """`spec` as it runs on this machine: its device and how that computes, what `default` stands for, and the estimate.

    `device`: the one to expect where the run will run on another machine.

    `auto` stays, for only the pictures decide it (`resolve`), and then there is no estimate yet. An estimate that is there
    already, as in a run that goes on or is finished with its best state, is kept, unless it is that of another machine. Precision and micro-batch of
    a spec that has run on such a machine and device are kept, too: training may have found that others do not fit.

    Raises:
        DeviceError: the device is not on this machine.
    """
    device = device or resolve_device(spec.device)
    spec = spec.model_copy(update={"device": device})
    elsewhere = spec.expected is not None and spec.expected.machine != machine_of(device)
    if elsewhere or spec.expected is None:
        layout = device in network(spec.backbone).layout.channels_last
        spec = spec.model_copy(update={"channels_last": layout, **computes(device, spec.batch_size)._asdict()})
    if spec.strategy == DEFAULT and spec.solver != "logistic":
        spec = with_strategy(spec, HEAD_ONLY, reason=f"The solver {spec.solver} finds the head alone.")
    elif spec.strategy == DEFAULT:
        images = int((assign(dataset.manifest(), spec.seed) == "train").sum())
        choice = default_strategy(device, images)
        spec = with_strategy(spec, choice.name, reason=choice.reason)
    known = spec.estimated_seconds is not None and not elsewhere
    return spec if spec.strategy == AUTO or known else with_estimate(spec, dataset)


def after(spec: TrainSpec, epoch: int) -> TrainSpec:
    """A spec for the estimate of what is left of the run of `spec` after `epoch`."""
    return spec.model_copy(update={"epochs": max(1, spec.epochs - epoch), "estimated_seconds": None, "expected": None})


def outlook(spec: TrainSpec, dataset: DatasetFolder) -> Outlook:
    """What the run of `spec` is expected to take once its turn has come, as far as that is known on this machine now.

    Raises:
        LimitReached: it runs on this machine, and needs far more memory than one job may have here.
    """
    try:
        expected = settled(spec, dataset, device=expected_device(spec.device))
        if expected.strategy == AUTO:
            return Outlook()
        found = estimated(expected, dataset)
    except GraftError:
        # The worker meets the same and says it.
        return Outlook()
    seconds = round((found.low + found.high) / 2, 1)
    if expected.device != "cpu":
        # On a GPU, the estimate is of the GPU's own memory.
        return Outlook(seconds=seconds)
    most = most_memory_mb()
    refusal = memory_refusal(found, most) if works_here() else None
    if refusal:
        raise LimitReached(refusal)
    return Outlook(seconds=seconds, memory_mb=round(min(found.memory_mb, most)))


def prepare(plan: Plan) -> Generator[Event, None, NDArray[np.uint8]]:
    """Settle the plan's spec for this machine, and prepare its pictures: uint8 (N, S, S, 3).

    Raises:
        DeviceError: the device is not on this machine.
        DataError: no classifier can be trained on the pictures, or a copy is missing or damaged.
        DiskFull: no space is left.
    """
    asked, before = plan.spec.device, plan.spec.expected
    plan.take(settled(plan.spec, plan.dataset))
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
    plan.take(with_estimate(with_strategy(plan.spec, chosen, reason=advice.reason), plan.dataset))
    yield Notice(message=f"The strategy is {strategy(chosen).title!r} ({chosen}). {advice.reason}")
