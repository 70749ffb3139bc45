"""Starts the long jobs for pages, the command line and `tl_core.train`, and follows them.

Everything that can be found wrong is found before a job is made. A second call with the same `key` (a double click, a
rerun in the middle) finds the job of the first.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, TypeVar

from tl_core import locks, settings
from tl_core.disk import copy_or_link, disk_full_said, remove, write_atomically
from tl_core.documents.events import EpochEnded, Event, Outlook, Resumed, Status
from tl_core.documents.spec import ClassesFrom, IngestSpec, RaceSpec, TrainSpec
from tl_core.documents.tasks import JobSpec
from tl_core.errors import Cancelled, GraftError, InUse, NotFound, SpecError, WorkerDied
from tl_core.runs.comparing import missing
from tl_core.runs.process.executor import cancel, chosen, forget_lost, hand_over, offered_devices
from tl_core.runs.process.queue import require_room
from tl_core.runs.start.training_spec import setup_of, training_options
from tl_core.runs.store.budgets import expected_bytes, require_free, room_for
from tl_core.runs.store.folders import DatasetFolder, RaceFolder, RunFolder
from tl_core.runs.store.job_folder import JobFolder, identifier, keep_reserve, make, make_outside
from tl_core.runs.store.store import Store, Workspace
from tl_core.runs.store.sweep import sweep_hourly
from tl_core.runs.train.plan import after, outlook
from tl_core.serving.bundle_files import TENSORS
from tl_core.training.speed.taken import Taken
from tl_core.training.strategies.strategies import strategies

Start = Literal["checkpoint", "best", "nothing"]
"""The state that a run goes on from; a new one starts from nothing, or from what another run delivered (`train_on`)."""
Made = TypeVar("Made", bound=JobFolder)
Again = TypeVar("Again", RunFolder, RaceFolder)
_RECORD = ("spec.json", "status.json", "cancel", "expected.json", "finish")
"""Files of a job's folder in which it is prepared to run once more."""


def submit_ingest(
    workspace: Workspace,
    *,
    source_kind: Literal["folder", "zip", "sample"],
    source: str | Path,
    name: str,
    classes_from: ClassesFrom = "first",
    remove_source: bool = False,
    onto: DatasetFolder | None = None,
    groups: bool = True,
    groups_file: str | Path | None = None,
    judged: bool = True,
    key: str | None = None,
) -> DatasetFolder:
    """Start to read a folder, a zip or a sample into a data set.

    `remove_source`: the source lies in the workspace's staging folder, and is removed when the job has ended. `onto` is a data set of this
    workspace, called `name`: the pictures are added to it, which makes its next version. `groups`, `groups_file` and `judged`: as in
    `IngestSpec`.

    Raises:
        SpecError: the data set that is to be added to was not read to the end.
        InUse: pictures are being added to it already.
        NotFound: there is no such folder or zip.
        LimitReached: too many jobs wait or work here.
        OverBudget: the workspace has no room for it.
        DiskFull: the disk has no room for it.
    """
    if onto is not None:
        onto.require_read()
    spec = IngestSpec(
        name=" ".join(name.split())[:200] or "Untitled",
        source_kind=source_kind,
        source=str(source if source_kind == "sample" else Path(source).absolute()),
        classes_from=classes_from,
        groups=groups,
        groups_file=None if groups_file is None else str(Path(groups_file).absolute()),
        judged=judged,
        remove_source=remove_source and source_kind != "sample" and workspace.holds_staged(Path(source)),
        onto=onto.number if onto else None,
    )
    return read_pictures(workspace, spec, onto=onto, key=key)


def read_pictures(
    workspace: Workspace, spec: IngestSpec, *, onto: DatasetFolder | None = None, key: str | None = None
) -> DatasetFolder:
    """Start to read what `spec` names into a data set, or onto `onto`. Raises as `submit_ingest`."""
    chosen()  # Raises where the setting GRAFT_EXECUTOR is wrong, before anything is made.
    source = Path(spec.source)
    if spec.source_kind != "sample" and not (source.is_dir() if spec.source_kind == "folder" else source.is_file()):
        raise NotFound(f"There is no {spec.source_kind} {source}.")
    if onto is not None:
        _add(workspace, onto, spec)
        return onto
    dataset, _ = submit(workspace, DatasetFolder, spec, key=key)
    return dataset


def _add(workspace: Workspace, dataset: DatasetFolder, spec: IngestSpec) -> None:
    """Start to add what `spec` names to `dataset`, as the job of its own folder. If that cannot be started, its record stays as it was."""
    store = _swept(workspace)
    require_room(store.queue)
    claim = dataset.claim()
    if claim is None:
        raise InUse("Pictures are being added to this data set already. Wait until they are here, or cancel that.")
    record = _Record()
    try:
        record.keep(dataset)
        with room_for(workspace):
            keep_reserve(dataset.reserve)
        dataset.write_spec(spec)
        dataset.status_file.unlink(missing_ok=True)
        dataset.cancel_file.unlink(missing_ok=True)
    except BaseException:
        record.restore()
        locks.release([claim])
        raise
    hand_over(dataset, claim, store=store.root, undo=record.restore)


def submit_training(
    workspace: Workspace,
    dataset: DatasetFolder,
    *,
    name: str | None = None,
    out: Path | None = None,
    key: str | None = None,
    **options: Any,
) -> RunFolder:
    """Start to train a classifier on `dataset`, in the workspace or, with `out`, in a folder of the user's own.

    `options` are those of `train` on the command line, by the same names.

    Raises:
        SpecError: options that are wrong, all at once; a data set that was not read to the end.
        DataError: pictures that no classifier can be trained on.
        NotEmpty, LimitReached, OverBudget, DiskFull: as for `submit`; also where it needs far more memory than one job may have.
    """
    from tl_core.data.checks import require_trainable

    wanted = training_options(options)
    dataset.require_read()
    dataset = dataset.at(dataset.number)
    require_trainable(dataset.manifest())
    return _submit_run(workspace, dataset, setup_of(wanted, dataset, name=name).spec, out=out, key=key)


def train_on(
    run: RunFolder, *, epochs: int, workspace: Workspace | None = None, out: Path | None = None, key: str | None = None
) -> RunFolder:
    """Start a run that goes on learning from what `run`, which ended well, delivered: `epochs` more, with the schedule anew.

    It has the same pictures in the same parts, the same options and seed. Where stages joined one by one, all of them learn at once. Its
    epoch 0 is the network that `run` delivered, so it never ends with a larger validation loss. It has a copy of that network, so `run` may be
    deleted meanwhile. `out` and `key` as for `submit_training`.

    Raises:
        SpecError: `run` has not ended well, or found its head alone; `epochs` are out of range.
        NotFound: its data set or its bundle is gone.
        NotEmpty, LimitReached, OverBudget, DiskFull: as for `submit_training`.
    """
    spec = run.spec()
    problem = no_more_epochs(run)
    if problem:
        raise SpecError(problem)
    device = spec.device if spec.device in offered_devices() else "auto"
    training_options({"epochs": epochs, "device": device})
    workspace = workspace or Store.default().workspace(spec.workspace)
    dataset = _data_of(spec, workspace)
    if not (run.bundle / TENSORS).is_file():
        raise NotFound("What this run delivered is gone, so it cannot be trained on.")
    more = {
        "continues": run.id,
        "name": run.name,
        "device": device,
        "epochs": epochs,
        "changes": {**spec.changes, "epochs": epochs},
        "chosen_by": "user",
        "reason": None,
        "estimated_seconds": None,
        "expected": None,
    }

    def fill(folder: RunFolder) -> None:
        with disk_full_said("a new job"):
            copy_or_link(run.bundle / TENSORS, folder.start_file)
            shutil.copyfile(run.split_file, folder.split_file)

    return _submit_run(workspace, dataset, spec.model_copy(update=more), out=out, key=key, fill=fill)


def no_more_epochs(run: RunFolder) -> str | None:
    """Why `run` cannot be trained on, a sentence for the user; None where it can. Raises NotFound, DocumentError."""
    spec = run.spec()
    row = strategies().get(spec.strategy)
    if run.status().state != "succeeded":
        return "Only a run that ended well can be trained on. Go on with this one, or finish it with the best so far."
    if row is None:
        return f"This version of Graft has no strategy {spec.strategy!r}, so the run cannot be trained on."
    if row.takes_steps:
        return None
    if spec.solver == "logistic":
        return (
            "This run fitted the last layer alone, and found the best one for its pictures: more epochs would not change it. "
            "Choose a strategy that trains stages of the network."
        )
    return "This run trained the last layer alone, which takes seconds: train again with more epochs."


def _submit_run(
    workspace: Workspace,
    dataset: DatasetFolder,
    spec: TrainSpec,
    *,
    out: Path | None,
    key: str | None,
    fill: Callable[[RunFolder], object] | None = None,
) -> RunFolder:
    """Submit the run of `spec` on `dataset`. Raises as `submit`, and LimitReached where it needs far more memory than one job may have."""
    expected = outlook(spec, dataset)
    promised = expected_bytes(spec, len(dataset.manifest().images))
    run, _ = submit(workspace, RunFolder, spec, out=out, key=key, promised=promised, expected=expected, fill=fill)
    return run


def submit(
    workspace: Workspace,
    kind: type[Made],
    spec: JobSpec,
    *,
    out: Path | None = None,
    key: str | None = None,
    promised: int = 0,
    expected: Outlook | None = None,
    fill: Callable[[Made], object] | None = None,
) -> tuple[Made, bool]:
    """The job of `spec`, handed to the executor, and whether it is new: with the same `key` there is one job.

    It lies in `workspace`, which has room for the bytes that it is `promised`, or in the folder `out`. `expected`: the time and memory that it
    takes. `fill` puts further files into its folder before anybody can run it.

    Raises:
        NotEmpty: `out` holds something already.
        LimitReached: too many jobs wait or work here.
        OverBudget: the workspace has no room for it.
        DiskFull: the disk has no room for it.
    """
    workspace.make()
    store = _swept(workspace)
    require_room(store.queue)
    inside = workspace.path / kind.stored_in / identifier(key)
    with room_for(workspace, promised=0 if out or inside.is_dir() else promised):
        path, claim = make_outside(out, spec) if out else make(inside, spec)
        job = kind(path)
        if claim is None:
            return job, False
        try:
            if fill is not None:
                fill(job)
        except BaseException:
            job.discard()
            locks.release([claim])
            raise
    hand_over(job, claim, store=store.root, expected=expected)
    return job, True


def go_on(job: Again, start: Start = "checkpoint", *, workspace: Workspace | None = None) -> Again:
    """Let a run that ended before its end, or a race with those of its runs that were interrupted or not begun, go on in its own folder.

    A run has its own spec again: the same pictures, split, options and seed. From its checkpoint, its curve and weights are those of a run
    without the interruption, bit for bit on a processor. From its best state, that is delivered without a further step. A race has its
    whole budget again, and those of its runs that have no checkpoint begin anew.

    One that waits or works is left alone, but for `best`: then its worker goes on to the end with the best state at its next event. If it
    cannot be started, its record stays as it was. Where its device is not here any more, it goes on on another one.

    Raises:
        SpecError: it has ended well, or no run of the race is missing.
        NotFound: it has no such state, or its data set is gone.
        DocumentError: its checkpoint is damaged.
        LimitReached: too many jobs wait or work here, or it needs far more memory than one job may have.
        OverBudget: the workspace has no room for it.
        DiskFull: the disk has no room for it.
    """
    if start == "best" and job.alive() and job.finish_early():
        return job
    spec = job.spec()
    workspace = workspace or Store.default().workspace(spec.workspace)
    store = _swept(workspace)
    require_free(store)
    if not job.alive():
        require_room(store.queue)
    dataset = _data_of(spec, workspace)
    claim = job.claim()
    if claim is None:
        return job
    # Nobody else submits or runs it now, so what the last worker left may be changed.
    claims: dict[JobFolder, int] = {job: claim}
    record = _Record()
    try:
        for run in _unfinished(job):
            if run != job:
                turn = run.claim()
                if turn is None:
                    continue
                claims[run] = turn
            epoch = _reached(run, start, or_anew=run != job)
            left = Outlook() if start == "best" else outlook(after(run.spec(), epoch or 0), dataset)
            record.keep(run, *([] if run == job else [run.submitted.name]))
            # A run that is claimed counts with all that it is expected to write.
            with room_for(workspace):
                keep_reserve(run.reserve)
            _begin_again(run, epoch, left, best=start == "best")
        if isinstance(job, RaceFolder):
            record.keep(job)
            keep_reserve(job.reserve)
            job.status_file.unlink()
            job.cancel_file.unlink(missing_ok=True)
            for part in [part for part in claims if part != job]:
                part.wait_in(job.id, claims.pop(part))
    except BaseException:
        record.restore()
        locks.release(claims.values())
        raise
    hand_over(job, claim, store=store.root, undo=record.restore)
    return job


def _swept(workspace: Workspace) -> Store:
    """Mark `workspace` as used, sweep its store if nobody did so within the hour, and return the store."""
    workspace.touch()
    sweep_hourly(workspace.store, settings.current().keep_days)
    return workspace.store


class _Record:
    """What the folders of jobs that are to run once more said before, to be written back where they cannot be started."""

    def __init__(self) -> None:
        self._jobs: list[JobFolder] = []
        self._files: dict[Path, bytes | None] = {}

    def keep(self, job: JobFolder, *more: str) -> None:
        """Note what the folder of `job` says now, also in the files called `more`."""
        self._jobs.append(job)
        for name in (*_RECORD, *more):
            file = job.path / name
            self._files[file] = file.read_bytes() if file.exists() else None

    def restore(self) -> None:
        """Write it back."""
        for job in self._jobs:
            # First, because on a full disk there is no other space for the rest.
            remove(job.reserve)
        for file, content in self._files.items():
            remove(file) if content is None else write_atomically(file, content)


def _unfinished(job: RunFolder | RaceFolder) -> list[RunFolder]:
    """The runs with which `job` goes on. Raises SpecError where there is none."""
    if isinstance(job, RaceFolder):
        runs = [run for run in job.parts() if run.id in missing(job)]
        if not runs:
            raise SpecError("No run of this race is missing: each has ended, or was stopped.")
        return runs
    if job.status().state == "succeeded":
        raise SpecError("This run has ended well, so there is nothing to go on with.")
    return [job]


def _begin_again(run: RunFolder, epoch: int | None, left: Outlook, *, best: bool) -> None:
    """Write into the record of `run`, which the caller has claimed, that it goes on after `epoch` (None: from nothing) and what is `left`.

    `best`: it goes on to the end with its best state.
    """
    taken = Taken()
    for event in [] if epoch is None else run.events()[0]:
        taken.take(event)
    seconds, started = taken.in_all(), None if epoch is None else run.status().started
    resumed = Resumed(epoch=epoch, seconds=seconds)
    Status(state="queued", started=started, seconds=seconds, resumed=resumed).write(run.status_file)
    left.write(run.expected_file)
    run.cancel_file.unlink(missing_ok=True)
    run.finish_file.unlink(missing_ok=True)
    if best:
        run.finish_file.touch()
    spec = run.spec()
    if spec.device not in offered_devices():
        run.write_spec(spec.model_copy(update={"device": "auto"}))


def _reached(run: RunFolder, start: Start, *, or_anew: bool) -> int | None:
    """The last epoch of what `run` has learned in the state `start`; None from nothing, or where it has no such state and may begin anew.

    Raises NotFound, DocumentError.
    """
    try:
        if start == "nothing":
            return None
        if not run.best.is_file():
            raise NotFound(
                "This run has nothing to go on with: it was stopped before its first improvement. Start it again."
            )
        if start == "best":
            return max((event.epoch for event in run.events()[0] if isinstance(event, EpochEnded)), default=0)
        return run.checkpoint().epoch
    except GraftError:
        if or_anew:
            return None
        raise


def _data_of(spec: TrainSpec | RaceSpec, workspace: Workspace) -> DatasetFolder:
    """The data set of a run that is to be run once more. Raises NotFound, SpecError."""
    try:
        dataset = workspace.dataset(spec.dataset, spec.version)
    except NotFound:
        raise NotFound("The pictures of this run were deleted, and without them it cannot go on.") from None
    dataset.require_read()
    return dataset


def follow(
    job: JobFolder, *, poll: float = 0.03, offset: int = 0, meanwhile: Callable[[], object] = lambda: None
) -> Iterator[Event]:
    """The events of `job` as they come, until it has ended; then ask `job.status()` how. They begin with the first, or at byte `offset`.

    `meanwhile` is called before each look for events, of which there are `poll` seconds between.
    """
    while True:
        meanwhile()
        forget_lost(job)
        alive = job.alive()
        events, offset = job.events(offset)
        yield from events
        if not alive:
            return
        time.sleep(poll)


def wait(
    job: JobFolder,
    on_event: Callable[[Event], object] | None,
    *,
    offset: int = 0,
    meanwhile: Callable[[], object] = lambda: None,
) -> None:
    """Wait for the end of `job`, as `follow`. Raises what ended it, as the error that its worker met, if it did not succeed."""
    try:
        for event in follow(job, offset=offset, meanwhile=meanwhile):
            if on_event is not None:
                on_event(event)
    except BaseException:
        cancel(job)
        raise
    status = job.status()
    if status.state == "succeeded":
        return
    if status.state == "cancelled":
        raise Cancelled("Cancelled.")
    failure = status.failure
    if failure is None or failure.exit_code == WorkerDied.exit_code:
        message = failure.message if failure else "The worker process ended without a word."
        raise WorkerDied(f"{message} Its log: {job.log_file}")
    raise GraftError.by_kind.get(failure.kind, GraftError)(failure.message)


def clear_away(made: list[JobFolder]) -> None:
    """Remove what a call that failed has left in the command line's own workspace, which no page shows.

    A run that can still be finished with its best state stays, with its data set; so does all of a race of which a run ended well.
    """
    runs = [job for job in made if isinstance(job, RunFolder) and job.exists]
    if any(run.best.is_file() or run.report_file.is_file() for run in runs):
        return
    for job in made:
        with suppress(InUse):
            job.delete()
