"""The stages of each kind of job, in order; no stage calls the next one. Knows no process, lock or status.

A job is a generator of events; `JOBS` says which one belongs to which kind of spec.
"""

from __future__ import annotations

import shutil
from collections.abc import Generator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.documents.spec import IngestSpec, TrainSpec
from tl_core.runs.process.run_job import JobFunction
from tl_core.runs.questions.answers import QUESTION_JOBS
from tl_core.runs.store.folders import DatasetFolder, RunFolder

if TYPE_CHECKING:
    from tl_core.runs.train.plan import Plan


def ingest_job(folder: DatasetFolder) -> Generator[Event, None, None]:
    """Read what the spec names into the data set folder; the manifest comes last."""
    yield StageStarted(stage="reading", title="Looking for pictures")
    from tl_core.data.ingest import ingest

    spec = folder.spec()
    staging = folder.path / "staging"
    try:
        others = [
            path for path in folder.path.parent.iterdir() if path != folder.path and not path.name.startswith(".")
        ]
        yield from ingest(spec, folder.path, staging=staging, known=others)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if spec.remove_source:
            _remove_upload(spec, folder)


def train_job(run: RunFolder) -> Generator[Event, None, None]:
    """Train what the spec asks for, to a bundle and a report in the run folder.

    Raises:
        GraftError: pictures, weights, memory or disk that do not suffice, in words.
    """
    yield StageStarted(stage="preparing", title="Preparing the pictures")
    from tl_core.data.checks import require_trainable
    from tl_core.data.pixels import load_pixels
    from tl_core.runs.train.deliver import deliver
    from tl_core.runs.train.learn import learn
    from tl_core.runs.train.plan import Plan
    from tl_core.runs.train.resolve import resolve, settled

    plan = Plan(run)
    plan.take(settled(plan.spec, plan.dataset))
    require_trainable(plan.manifest)
    pixels = yield from load_pixels(
        plan.dataset.path,
        plan.manifest,
        size=plan.spec.image_size,
        interpolation=plan.weights.interpolation,
        cache=plan.cache,
    )
    yield from resolve(plan, pixels)
    yield from _say_what_has_no_effect(plan.spec)
    if not run.finishing:
        yield from _say_what_it_takes(plan)
    workshop = run.path / "workshop"
    shutil.rmtree(workshop, ignore_errors=True)
    try:
        learned = yield from learn(plan, pixels, workshop)
        yield from deliver(plan, pixels, learned, workshop)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    run.finish_file.unlink(missing_ok=True)
    run.best.unlink(missing_ok=True)


JOBS: Mapping[str, JobFunction] = MappingProxyType({"ingest": ingest_job, "train": train_job, **QUESTION_JOBS})


def _say_what_has_no_effect(spec: TrainSpec) -> Generator[Event, None, None]:
    from tl_core.runs.start.training_spec import without_effect

    idle = without_effect(spec)
    if idle:
        names = ", ".join(name.replace("_", " ") for name in idle)
        yield Notice(message=f"Without effect on {spec.strategy} as it is trained here: {names}.")


def _say_what_it_takes(plan: Plan) -> Generator[Event, None, None]:
    """How long it should take; where memory will not do for it, that too, and what would fit."""
    from tl_core.hardware import available_mb
    from tl_core.runs.train.estimating import estimated
    from tl_core.training.speed.estimate import fits

    found = estimated(plan.spec, plan.manifest, plan.cache)
    yield Notice(
        message=f"From here it should take {found}" + (f" and {found.memory} of memory." if found.memory else ".")
    )
    too_much = fits(found, available_mb(plan.spec.device))
    if too_much:
        yield Notice(level="warning", message=too_much)


def _remove_upload(spec: IngestSpec, folder: DatasetFolder) -> None:
    """Remove the upload's folder below `staging/` of the workspace, and nothing anywhere else."""
    staging = folder.path.parents[1] / "staging"
    source = Path(spec.source)
    if staging in source.parents:
        shutil.rmtree(staging / source.relative_to(staging).parts[0], ignore_errors=True)
