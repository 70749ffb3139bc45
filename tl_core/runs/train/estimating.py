"""How long a run will take and how much memory it needs, from its spec and from what earlier runs took here."""

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
from tl_core.documents.job import JobSpec
from tl_core.documents.spec import Expected, TrainSpec
from tl_core.documents.tasks import FindRateSpec, RankSpec
from tl_core.errors import GraftError
from tl_core.models.graphs.export import backbone_key
from tl_core.models.registry import network
from tl_core.runs.process.devices import computes, expected_device, machine_of, slowness
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Workspace
from tl_core.training.frozen.features import features_key
from tl_core.training.speed.estimate import Estimate, Kept, estimate
from tl_core.training.speed.taken import MOST_RUNS, Former, factors, memory_factor
from tl_core.training.strategies.strategies import WHOLE_NETWORK, strategy, tuned


def estimated(spec: TrainSpec, dataset: DatasetFolder, *, prepared: bool = False) -> Estimate:
    """Seconds and memory for the run of `spec`, whose strategy is a row of the table, on `dataset`.

    What the cache holds already takes no time, as far as jobs of this workspace have computed it: how long a run takes must
    not tell that somebody else has the same pictures. `prepared`: this run has prepared its pictures.

    Time and memory are scaled by what the latest runs of this workspace took on the same machine and device; without any, time by how
    fast the device was when it was timed.
    """
    manifest = dataset.manifest()
    if spec.continues and strategy(spec.strategy).thaws:
        # All stages have joined already.
        spec = spec.model_copy(update={"strategy": WHOLE_NETWORK})
    device = expected_device(spec.device)
    spec = spec.model_copy(update={"device": device, **computes(device, spec.batch_size)._asdict()})
    workspace, kind = Workspace(dataset.workspace_folder), (spec.backbone, spec.strategy)
    kept = _kept(spec, dataset, workspace.store.cache)
    former = list(islice(_former_runs(workspace, machine_of(device)), MOST_RUNS))
    return estimate(
        spec,
        images=len(manifest.images),
        classes=len(manifest.classes),
        kept=replace(kept, pixels=prepared or kept.pixels),
        factors=factors(former, kind, device=device, processor=slowness("cpu"), gpu=slowness(device)),
        memory_factor=memory_factor(former, kind),
    )


def with_estimate(spec: TrainSpec, dataset: DatasetFolder) -> TrainSpec:
    """`spec`, whose strategy is a row of the table, with what the run is expected to take on this machine."""
    found = estimated(spec, dataset)
    seconds = {stage: round(expected, 3) for stage, expected in found.stages.items()}
    expected = Expected(
        machine=machine_of(expected_device(spec.device)), seconds=seconds, memory_mb=round(found.table_mb, 1)
    )
    return spec.model_copy(
        update={"estimated_seconds": (round(found.low, 1), round(found.high, 1)), "expected": expected}
    )


def estimated_with(spec: TrainSpec, name: str, dataset: DatasetFolder) -> Estimate:
    """The same for the strategy called `name` with its own settings, in place of that of `spec`."""
    other = tuned(strategy(name), network(spec.backbone))
    own = {"strategy": name, "epochs": other.epochs or 1, "recipe": other.recipe, "solver": "logistic"}
    return estimated(spec.model_copy(update=own), dataset)


def _former_runs(workspace: Workspace, here: str) -> Iterator[Former]:
    """Runs of `workspace` that succeeded on the machine and device `here`, the latest first."""
    for run in workspace.runs():
        with suppress(OSError):
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
    held = Kept(
        pixels=any(cache.get("pixels", key) for key in pixels),
        features=any(cache.get("features", key) for key in features),
        backbone=cache.get("backbones", backbone) is not None,
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
