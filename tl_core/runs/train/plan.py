"""One training run: what every stage of it reads, and what its spec leaves open until it runs, found where it runs.

Device, precision and strategy are found, and the time and memory that it takes.
"""

from collections.abc import Generator, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tl_core.data.cache import Cache
from tl_core.data.checks import require_trainable
from tl_core.data.pixel_arrays import load_pixels, pixels_key
from tl_core.data.split import as_recorded, assign, group_keys, recorded, without_headline
from tl_core.disk import read_once
from tl_core.documents.events import Event, Notice, Outlook, StageStarted
from tl_core.documents.manifest import Manifest, Split, SplitRecord
from tl_core.documents.options import DEFAULT_NETWORK
from tl_core.documents.spec import Expected, TrainSpec
from tl_core.documents.tasks import FindRateSpec, RankSpec
from tl_core.errors import GraftError, LimitReached, NotFound, SpecError
from tl_core.hardware import available_mb
from tl_core.models.graphs.export import backbone_key
from tl_core.models.registry import Network, WeightsRow, network
from tl_core.runs.process.devices import (
    RealDevice,
    expected_device,
    machine_of,
    precision_of,
    resolve_device,
    slowness,
    unusable_gpu,
)
from tl_core.runs.process.executor import works_here
from tl_core.runs.process.run_job import most_memory_mb
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store, Workspace
from tl_core.training.frozen.features import features_before, features_key, frozen_features
from tl_core.training.speed.estimate import Estimate, Kept, estimate, memory_refusal, memory_warning
from tl_core.training.speed.taken import MOST_RUNS, Former, factors, memory_factor
from tl_core.training.strategies.advice import default_strategy
from tl_core.training.strategies.strategies import AUTO, DEFAULT, HEAD_ONLY, Setup, Strategy, misfit, strategy


class Plan:
    """One training run: its spec and everything that is looked up by it. Nothing here takes time to compute."""

    def __init__(self, run: RunFolder) -> None:
        store = Store.default()
        self.run = run
        self.setup = Setup.of(run.spec())
        self.cache: Cache = store.cache
        self.dataset: DatasetFolder = store.workspace(self.spec.workspace).dataset(self.spec.dataset, self.spec.version)

    def take(self, setup: Setup) -> None:
        """Go on with `setup`, in which something was found out; the run's own spec is written again."""
        self.run.write_spec(setup.spec)
        self.setup = setup

    def note(self, **values: object) -> None:
        """Go on with `values` in the spec; the network and the strategy are no such values."""
        self.take(self.setup.changed(**values))

    @property
    def spec(self) -> TrainSpec:
        return self.setup.spec

    @property
    def network(self) -> Network:
        return self.setup.network

    @property
    def strategy(self) -> Strategy:
        """Raises UnknownName where `auto` was not resolved yet."""
        return self.setup.strategy

    @property
    def weights(self) -> WeightsRow:
        return self.setup.weights

    @cached_property
    def manifest(self) -> Manifest:
        return self.dataset.manifest()

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        return np.array([image.label for image in self.manifest.images], dtype=np.int64)

    @cached_property
    def splits(self) -> NDArray[np.str_]:
        """The split of each row: the one that the run began with, where it was kept."""
        try:
            record = SplitRecord.read(self.run.split_file)
        except NotFound:
            return assign(self.manifest, self.spec.seed)
        return as_recorded(self.manifest, record, self.spec.seed)

    def keep_split(self) -> None:
        """Keep the split with the run, so that it is the same where the run is finished by a later version. Raises DiskFull."""
        recorded(self.manifest, self.splits).write(self.run.split_file)

    @cached_property
    def groups(self) -> NDArray[np.intp]:
        """The group of each row, which no split or fold divides."""
        return group_keys(self.manifest)

    @cached_property
    def one_moment(self) -> tuple[str, ...]:
        """The classes for which no accuracy of this run is to be believed, see `without_headline`."""
        return without_headline(self.manifest)

    def rows(self, *splits: Split) -> NDArray[np.intp]:
        """The rows of the pictures in any of `splits`, in order."""
        return np.flatnonzero(np.isin(self.splits, splits))

    @property
    def classes(self) -> tuple[str, ...]:
        return self.manifest.classes

    def key(self) -> str:
        """The cache key of what is computed from these pictures with this backbone."""
        return features_key(self.manifest, self.network, self.weights.name, self.spec.image_size)

    def features(self, pixels: NDArray[np.uint8]) -> Generator[Event, None, NDArray[np.float32]]:
        """Embeddings (N, D) of `pixels` (N, S, S, 3) by the frozen backbone, from the cache where it has them. Raises as `frozen_features`."""
        weights, size = self.weights.name, self.spec.image_size
        before = features_before(self.manifest, self.network, weights, size)
        device, cache, key = self.spec.device, self.cache, self.key()
        return (
            yield from frozen_features(
                pixels, self.network, weights, device=device, cache=cache, key=key, before=before
            )
        )


_CPU_AT_ONCE = 16
"""Images that go through a network together on a processor, which tells of too little memory too late: half of the usual batch takes half
the memory. A GPU takes the whole batch at once, or as much of it as training finds to fit."""


def on_device(setup: Setup, device: RealDevice) -> Setup:
    """`setup` as it is computed on `device`: precision, pictures at once, memory layout.

    What a spec says that has run on such a machine and device is kept: training may have found that another precision or micro-batch
    does not fit. So is the estimate, unless it is that of another machine.
    """
    setup, before = setup.changed(device=device), setup.spec.expected
    if before is not None and before.machine == machine_of(device):
        return setup
    return setup.changed(
        precision=precision_of(device),
        micro_batch=_CPU_AT_ONCE if device == "cpu" else setup.spec.batch_size,
        channels_last=device in setup.network.layout.channels_last,
        estimated_seconds=None,
        expected=None,
    )


def settled(setup: Setup, dataset: DatasetFolder, *, device: RealDevice | None = None) -> Setup:
    """`setup` as it runs on this machine: its device and how that precision_of, and what `default` stands for.

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


def estimated(setup: Setup, dataset: DatasetFolder, *, prepared: bool = False) -> Estimate:
    """Seconds and memory for the run of `setup`, which is settled and not `auto`, on `dataset`.

    What the cache holds already takes no time, as far as jobs of this workspace have computed it: how long a run takes must
    not tell that somebody else has the same pictures. `prepared`: this run has prepared its pictures.

    Time and memory are scaled by what the latest runs of this workspace took on the same machine and device; without any, time by how
    fast the device was when it was timed.
    """
    manifest, device = dataset.manifest(), expected_device(setup.spec.device)
    workspace, kind = Workspace(dataset.workspace_folder), (setup.spec.backbone, setup.spec.strategy)
    kept = _kept(setup, dataset, workspace.store.cache)
    former = list(islice(_former_runs(workspace, machine_of(device)), MOST_RUNS))
    return estimate(
        setup,
        images=len(manifest.images),
        classes=len(manifest.classes),
        kept=replace(kept, pixels=prepared or kept.pixels),
        factors=factors(former, kind, device=device, processor=slowness("cpu"), gpu=slowness(device)),
        memory_factor=memory_factor(former, kind),
    )


def with_estimate(setup: Setup, dataset: DatasetFolder) -> Setup:
    """`setup`, which is settled, with what the run is expected to take on this machine, unless that is known, or the strategy open."""
    if setup.spec.expected is not None or setup.row is None:
        return setup
    whole = estimated(setup, dataset)
    seconds = {stage: round(taken, 3) for stage, taken in whole.stages.items()}
    here = machine_of(expected_device(setup.spec.device))
    expected = Expected(machine=here, seconds=seconds, memory_mb=round(whole.table_mb, 1))
    return setup.changed(estimated_seconds=(round(whole.low, 1), round(whole.high, 1)), expected=expected)


def estimated_with(setup: Setup, name: str, dataset: DatasetFolder) -> Estimate:
    """The same for the strategy called `name` with its own settings, in place of that of `setup`."""
    return estimated(setup.changed(changes={}, solver="logistic").trained_as(name), dataset)


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
    estimate: Estimate | None = None
    # What is wrong, the worker meets and says.
    with suppress(GraftError):
        setup, estimate = expected(Setup.of(spec), dataset)
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
        features = yield from plan.features(pixels)
        scores = transferability(features[train], plan.labels[train], plan.spec.seed)
        yield Notice(message=scores.said(plan.network.name))
        similar = scores.similar
    advice = advise(len(train), similar, plan.network, stages=plan.spec.stages)
    chosen = advice.strategy or HEAD_ONLY
    plan.take(with_estimate(plan.setup.trained_as(chosen, reason=advice.reason), plan.dataset))
    yield Notice(message=f"The strategy is {plan.strategy.title!r} ({chosen}). {advice.reason}")


def said_before(plan: Plan, *, done: int) -> Generator[Event, None, None]:
    """How long the run should take after `done` epochs; where memory will not do for it, that too, and what would fit."""
    left = estimated(Setup.of(after(plan.spec, done)), plan.dataset, prepared=True)
    yield Notice(message=f"From here it should take {left} and {left.memory} of memory.")
    too_much = memory_warning(left, available_mb(plan.spec.device))
    if too_much:
        yield Notice(level="warning", message=too_much)


def _former_runs(workspace: Workspace, here: str) -> Iterator[Former]:
    """Runs of `workspace` that succeeded on the machine and device `here`, the latest first."""
    for run in workspace.runs():
        former = _former(run.status_file)
        if former and former[0] == here:
            yield former[1]


@read_once(1024)
def _former(status_file: Path) -> tuple[str, Former] | None:
    """Machine of the run of that status, and what it was expected to take and took; None where it has not succeeded, or that was not noted."""
    with suppress(GraftError):
        folder = RunFolder(status_file.parent)
        status, spec = folder.status(), folder.spec()
        # One that was stopped and went on has done some of its work twice.
        if status.state == "succeeded" and spec.expected and not status.resumed:
            taken = dict(status.seconds)
            if spec.recipe.patience and strategy(spec.strategy).takes_steps:
                # It may have stopped before the epochs that were expected.
                taken.pop("training", None)
            # On a GPU, what was expected is the GPU's own memory, and what was noted is that of the worker.
            peak = status.peak_memory_mb if spec.device == "cpu" else None
            memory = peak / spec.expected.memory_mb if peak else None
            former = Former((spec.backbone, spec.strategy), spec.expected.seconds, taken, memory)
            return spec.expected.machine, former
    return None


def _kept(setup: Setup, dataset: DatasetFolder, cache: Cache) -> Kept:
    """Which of the run's inputs the cache holds, and jobs of this workspace have computed."""
    size, manifest = setup.spec.image_size, dataset.manifest()
    wanted = (setup.network.name, setup.weights.name, size)
    # A version of a data set takes its rows from those of the versions before it.
    manifests = [manifest, *(before for before, _ in manifest.ancestors())]
    scaled = partial(pixels_key, size=size, interpolation=setup.weights.interpolation)
    embedded = partial(features_key, network=setup.network, weights=setup.weights.name, size=size)
    used = set(_used(Workspace(dataset.workspace_folder), dataset))
    return Kept(
        pixels=size in {side for *_, side in used} and any(cache.get("pixels", scaled(one)) for one in manifests),
        features=wanted in used and any(cache.get("features", embedded(one)) for one in manifests),
        # A backbone is made of public weights alone, so it is no secret whether it was exported.
        backbone=cache.get("backbones", backbone_key(setup.network, setup.weights.name, size)) is not None,
    )


def _used(workspace: Workspace, dataset: DatasetFolder) -> Iterator[tuple[str, str, int]]:
    """Backbone, weights and image size with which jobs of `workspace` that succeeded have looked at the pictures of `dataset`."""
    if dataset.manifest().grouped:
        yield _default(DEFAULT_NETWORK)
    for job in (*workspace.runs(), *workspace.tasks()):
        with suppress(GraftError):
            spec = job.spec()
            spec = spec.train if isinstance(spec, FindRateSpec) else spec
            if getattr(spec, "dataset", None) != dataset.id or job.status().state != "succeeded":
                continue
            if isinstance(spec, TrainSpec):
                yield spec.backbone, spec.weights, spec.image_size
            elif isinstance(spec, RankSpec):
                yield from map(_default, spec.backbones)


def _default(backbone: str) -> tuple[str, str, int]:
    """The same with the default weights of `backbone`. Raises UnknownName."""
    weights = network(backbone).weights_row()
    return backbone, weights.name, weights.input_size
