"""How long a run will take and how much memory it needs, from its spec and from what this machine measured before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tl_core.data.cache import Cache
from tl_core.data.pixel_arrays import origin, pixels_key
from tl_core.disk import read_once
from tl_core.documents.events import ReadingTimed
from tl_core.documents.job import JobSpec
from tl_core.documents.spec import ExpectedSeconds, TrainSpec
from tl_core.documents.tasks import FindRateSpec, Measurement, MeasureSpec, RankSpec
from tl_core.errors import GraftError
from tl_core.hardware import machine
from tl_core.models.graphs.export import backbone_key
from tl_core.models.registry import network
from tl_core.runs.process.devices import computes, expected_device, machine_of
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Workspace
from tl_core.training.frozen.features import features_key
from tl_core.training.speed import measure
from tl_core.training.speed.estimate import Estimate, Kept, estimate
from tl_core.training.speed.learned import MOST_RUNS, Former, factors
from tl_core.training.strategies.strategies import WHOLE_NETWORK, strategy, tuned


def measure_question(spec: TrainSpec, classes: int) -> MeasureSpec:
    """What to ask of this machine to know how long the run of `spec` will take here."""
    device = expected_device(spec.device)
    return MeasureSpec(
        backbone=spec.backbone,
        weights=spec.weights,
        strategy=spec.strategy,
        stages=spec.stages,
        image_size=spec.image_size,
        classes=classes,
        device=device,
        batch_size=spec.batch_size,
        lora_rank=spec.recipe.lora_rank,
        **computes(device, spec.batch_size)._asdict(),
    )


def measured(spec: TrainSpec, classes: int, cache: Cache) -> Measurement | None:
    """What this machine measured before for the run of `spec`; None where it did not."""
    asked = measure_question(spec, classes)
    return measure.known(asked, cache, here=machine_of(expected_device(spec.device)))


def estimated(spec: TrainSpec, dataset: DatasetFolder, *, prepared: bool = False) -> Estimate:
    """Seconds and memory for the run of `spec`, whose strategy is a row of the table, on `dataset`.

    What the cache holds already takes no time, as far as jobs of this workspace have computed it: how long a run takes must
    not tell that somebody else has the same pictures. `prepared`: this run has prepared its pictures.

    The sum is scaled by what the latest runs of this workspace took on the same machine and device. Without any, that of the table is
    scaled by how fast the pictures were read.
    """
    manifest = dataset.manifest()
    if spec.continues and strategy(spec.strategy).thaws:
        # All stages have joined already.
        spec = spec.model_copy(update={"strategy": WHOLE_NETWORK})
    asked, cache = measure_question(spec, len(manifest.classes)), Workspace(dataset.workspace_folder).store.cache
    here = machine_of(expected_device(spec.device))
    kept, known = _kept(spec, dataset, cache), measure.known(asked, cache, here=here)
    former = islice(_former_runs(Workspace(dataset.workspace_folder), here, measured=known is not None), MOST_RUNS)
    return estimate(
        spec,
        asked,
        images=len(manifest.images),
        measured=known,
        kept=replace(kept, pixels=prepared or kept.pixels),
        factors=factors(list(former), slowness=None if known else _slowness(dataset), device=asked.device),
    )


def with_estimate(spec: TrainSpec, dataset: DatasetFolder) -> TrainSpec:
    """`spec`, whose strategy is a row of the table, with what the run is expected to take on this machine."""
    found = estimated(spec, dataset)
    seconds = {stage: round(expected, 3) for stage, expected in found.stages.items()}
    expected = ExpectedSeconds(
        machine=machine_of(expected_device(spec.device)), measured=found.measured, seconds=seconds
    )
    return spec.model_copy(
        update={"estimated_seconds": (round(found.low, 1), round(found.high, 1)), "expected": expected}
    )


def estimated_with(spec: TrainSpec, name: str, dataset: DatasetFolder) -> Estimate:
    """The same for the strategy called `name` with its own settings, in place of that of `spec`."""
    other = tuned(strategy(name), network(spec.backbone))
    own = {"strategy": name, "epochs": other.epochs or 1, "recipe": other.recipe, "solver": "logistic"}
    return estimated(spec.model_copy(update=own), dataset)


def _former_runs(workspace: Workspace, here: str, *, measured: bool) -> Iterator[Former]:
    """Runs of `workspace` that succeeded on the machine and device `here`, the latest first, whose sum was `measured` or not."""
    for run in workspace.runs():
        with suppress(OSError):
            known = _former(run.status_file)
            if known and (known[0].machine, known[0].measured) == (here, measured):
                yield known[1]


@read_once(1024)
def _former(status_file: Path) -> tuple[ExpectedSeconds, Former] | None:
    """What the run of that status was expected to take and took; None where it has not succeeded, or that was not noted."""
    with suppress(GraftError):
        folder = RunFolder(status_file.parent)
        status, spec = folder.status(), folder.spec()
        # One that was stopped and went on has done some of its work twice.
        if status.state == "succeeded" and spec.expected and not status.resumed:
            taken = dict(status.seconds)
            if spec.recipe.patience and strategy(spec.strategy).takes_steps:
                # It may have stopped before the epochs that were expected.
                taken.pop("training", None)
            return spec.expected, Former(spec.expected.seconds, taken)
    return None


def _slowness(dataset: DatasetFolder) -> float | None:
    """How many times as long as expected this machine took for the pictures of `dataset`; None where it was not timed here."""
    with suppress(OSError):
        timed = _reading_timed(dataset.path / "events.jsonl")
        return timed.slowness if timed and timed.machine == machine("cpu") else None
    return None


@read_once(64)
def _reading_timed(events_file: Path) -> ReadingTimed | None:
    events, _ = DatasetFolder(events_file.parent).events()
    return next((event for event in reversed(events) if isinstance(event, ReadingTimed)), None)


class _Input(NamedTuple):
    """Pictures as a network takes them, of which a job has computed the features."""

    dataset: str
    backbone: str
    weights: str
    image_size: int
    interpolation: str


def _kept(spec: TrainSpec, dataset: DatasetFolder, cache: Cache) -> Kept:
    """Which of the run's inputs the cache holds, and jobs of this workspace have computed; for a public sample, whoever did."""
    (wanted,) = _inputs(spec)
    # A version of a data set takes its rows from those of the versions before it.
    manifest = dataset.manifest()
    manifests = [manifest, *(before for before, _ in manifest.ancestors())]
    pixels = [pixels_key(one, size=wanted.image_size, interpolation=wanted.interpolation) for one in manifests]
    features = [features_key(one, network(wanted.backbone), wanted.weights, wanted.image_size) for one in manifests]
    # A backbone is made of public weights alone, so it is no secret whether it was exported.
    backbone = backbone_key(network(wanted.backbone), wanted.weights, wanted.image_size)
    exported = cache.get("backbones", backbone) is not None
    held = Kept(
        pixels=any(cache.get("pixels", key) for key in pixels),
        features=any(cache.get("features", key) for key in features),
        backbone="yes" if exported else "soon" if cache.filling("backbones", backbone) else "no",
    )
    source = dataset.spec()
    if not (held.pixels or held.features) or (source.source_kind == "sample" and source.extends is None):
        return held
    used = list(_used(Workspace(dataset.workspace_folder)))
    same = {other for other in {one.dataset for one in used} if _same_pictures(other, dataset)}
    used = [one for one in used if one.dataset in same]
    return Kept(
        pixels=held.pixels
        and any((one.image_size, one.interpolation) == (wanted.image_size, wanted.interpolation) for one in used),
        features=held.features and any(one[1:] == wanted[1:] for one in used),
        backbone=held.backbone,
    )


def _used(workspace: Workspace) -> Iterator[_Input]:
    """What jobs of `workspace` that succeeded had as inputs."""
    for job in (*workspace.runs(), *workspace.tasks()):
        with suppress(GraftError):
            if job.status().state == "succeeded":
                yield from _inputs(job.spec())


def _inputs(spec: JobSpec) -> list[_Input]:
    """Raises UnknownName for a network that is no longer known."""
    match spec:
        case TrainSpec():
            interpolation = network(spec.backbone).weights_row(spec.weights).interpolation
            return [_Input(spec.dataset, spec.backbone, spec.weights, spec.image_size, interpolation)]
        case FindRateSpec():
            return _inputs(spec.train)
        case RankSpec():
            rows = [(name, network(name).weights_row()) for name in spec.backbones]
            return [
                _Input(spec.dataset, name, weights.name, weights.input_size, weights.interpolation)
                for name, weights in rows
            ]
        case _:
            return []


def _same_pictures(other: str, dataset: DatasetFolder) -> bool:
    """Whether the data set with the id `other`, of the same workspace, has the pictures of `dataset`."""
    if other == dataset.id:
        return True
    with suppress(GraftError):
        return origin(Workspace(dataset.workspace_folder).dataset(other).manifest()) == origin(dataset.manifest())
    return False
