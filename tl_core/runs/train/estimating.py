"""How long a run will take and how much memory it needs, from its spec and from what earlier runs took here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from tl_core.data.cache import Cache
from tl_core.data.pixel_arrays import pixels_key
from tl_core.disk import read_once
from tl_core.documents.options import DEFAULT_NETWORK
from tl_core.documents.spec import Expected, TrainSpec
from tl_core.documents.tasks import FindRateSpec, RankSpec
from tl_core.errors import GraftError
from tl_core.models.graphs.export import backbone_key
from tl_core.models.registry import network
from tl_core.runs.process.devices import expected_device, machine_of, slowness
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Workspace
from tl_core.training.frozen.features import features_key
from tl_core.training.speed.estimate import Estimate, Kept, estimate
from tl_core.training.speed.taken import MOST_RUNS, Former, factors, memory_factor
from tl_core.training.strategies.setup import Setup
from tl_core.training.strategies.strategies import strategy


def estimated(setup: Setup, dataset: DatasetFolder, *, prepared: bool = False) -> Estimate:
    """Seconds and memory for the run of `setup`, which is settled (`resolve.settled`) and not `auto`, on `dataset`.

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
    found = estimated(setup, dataset)
    seconds = {stage: round(taken, 3) for stage, taken in found.stages.items()}
    here = machine_of(expected_device(setup.spec.device))
    expected = Expected(machine=here, seconds=seconds, memory_mb=round(found.table_mb, 1))
    return setup.changed(estimated_seconds=(round(found.low, 1), round(found.high, 1)), expected=expected)


def estimated_with(setup: Setup, name: str, dataset: DatasetFolder) -> Estimate:
    """The same for the strategy called `name` with its own settings, in place of that of `setup`."""
    return estimated(setup.changed(changes={}, solver="logistic").trained_as(name), dataset)


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
