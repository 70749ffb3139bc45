"""Starts the long jobs for pages, the command line and `tl_core.train`, and follows them.

Everything that can be found wrong is found before a job is made. A second call with the same `key` (a double click, a
rerun in the middle) finds the job of the first.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from tl_core import locks
from tl_core.disk import copy_or_link, disk_full_said, remove, write_atomically
from tl_core.documents.events import Event, Resumed
from tl_core.documents.job import Outlook
from tl_core.documents.spec import ClassesFrom, Extended, IngestSpec, TrainSpec
from tl_core.documents.status import Status
from tl_core.errors import Cancelled, GraftError, InUse, NotFound, SpecError, WorkerDied
from tl_core.runs.process.executor import cancel, chosen, forget_lost, hand_over, offered_devices
from tl_core.runs.process.queue import require_room
from tl_core.runs.start.training_spec import spec_of, training_options
from tl_core.runs.store.budgets import require_free, room_for
from tl_core.runs.store.folders import DatasetFolder, RunFolder, carried_by
from tl_core.runs.store.job_folder import JobFolder, keep_reserve
from tl_core.runs.store.new_folder import identifier, make, make_outside, swept
from tl_core.runs.store.store import Store, Workspace
from tl_core.runs.store.usage import expected_bytes
from tl_core.runs.train.resolve import after, outlook
from tl_core.serving.bundle_files import TENSORS
from tl_core.training.speed.taken import Taken
from tl_core.training.strategies.strategies import strategies


def submit_ingest(
    workspace: Workspace,
    *,
    source_kind: Literal["folder", "zip", "sample"],
    source: str | Path,
    name: str,
    classes_from: ClassesFrom = "first",
    remove_source: bool = False,
    extends: DatasetFolder | None = None,
    class_names: Mapping[str, str] | None = None,
    groups: bool = True,
    groups_file: str | Path | None = None,
    judged: bool = True,
    key: str | None = None,
) -> DatasetFolder:
    """Start to read a folder, a zip or a sample into a data set.

    `remove_source`: the source lies in the workspace's staging folder, and is removed when the job has ended. `extends` is a data set
    of this workspace, called `name`: the new one has all its pictures and those of the source. `class_names`: as in `Extended`.
    `groups`, `groups_file` and `judged`: as in `IngestSpec`.

    Raises:
        SpecError: the data set that is to be extended was not read to the end.
        NotFound: there is no such folder or zip.
        LimitReached: too many jobs wait or work here.
        OverBudget: the workspace has no room for it.
        DiskFull: the disk has no room for it.
    """
    chosen()  # Raises where the setting GRAFT_EXECUTOR is wrong, before anything is made.
    if source_kind != "sample":
        source = Path(source).absolute()
        if not (source.is_dir() if source_kind == "folder" else source.is_file()):
            raise NotFound(f"There is no {source_kind} {source}.")
    if extends is not None:
        extends.require_read()
    spec = IngestSpec(
        name=" ".join(name.split())[:200] or "Untitled",
        source_kind=source_kind,
        source=str(source),
        classes_from=classes_from,
        groups=groups,
        groups_file=None if groups_file is None else str(Path(groups_file).absolute()),
        judged=judged,
        remove_source=remove_source and source_kind != "sample" and workspace.holds_staged(Path(source)),
        extends=Extended(
            workspace=workspace.token,
            dataset=extends.id,
            version=extends.number,
            class_names=dict(class_names or {}),
        )
        if extends
        else None,
    )
    workspace.make()
    store = swept(workspace)
    require_room(store.queue)
    with room_for(workspace):
        path, claim = make(workspace.path / DatasetFolder.stored_in / identifier(key), spec)
    dataset = DatasetFolder(path)
    if claim is not None:
        hand_over(dataset, claim, store=store.root)
    return dataset


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
        NotEmpty: `out` holds something already.
        LimitReached: too many jobs wait or work here, or it needs far more memory than one job may have.
        OverBudget: the workspace has no room for it.
        DiskFull: the disk has no room for it.
    """
    from tl_core.data.checks import require_trainable

    wanted = training_options(options)
    dataset.require_read()
    dataset = dataset.at(dataset.number)
    require_trainable(dataset.manifest())
    return _start(workspace, dataset, spec_of(wanted, dataset, name=name), out=out, key=key)


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
    training_options({"epochs": epochs, "device": spec.device if spec.device in offered_devices() else "auto"})
    workspace = workspace or Store.default().workspace(spec.workspace)
    dataset = _data_of(spec, workspace)
    if not (run.bundle / TENSORS).is_file():
        raise NotFound("What this run delivered is gone, so it cannot be trained on.")
    more = {
        "schema_version": TrainSpec.model_fields["schema_version"].default,
        "continues": run.id,
        "name": run.name,
        "device": spec.device if spec.device in offered_devices() else "auto",
        "epochs": epochs,
        "changes": {**spec.changes, "epochs": epochs},
        "chosen_by": "user",
        "reason": None,
        "estimated_seconds": None,
        "expected": None,
    }

    def give(folder: Path) -> None:
        with disk_full_said("a new job"):
            copy_or_link(run.bundle / TENSORS, RunFolder(folder).start_file)
            if run.split_file.is_file():
                shutil.copyfile(run.split_file, RunFolder(folder).split_file)

    return _start(workspace, dataset, spec.model_copy(update=more), out=out, key=key, give=give)


def no_more_epochs(run: RunFolder) -> str | None:
    """Why `run` cannot be trained on, a sentence for the user; None where it can. Raises NotFound, DocumentError."""
    spec = run.spec()
    row = strategies().get(spec.strategy)
    if run.status().state != "succeeded":
        return "Only a run that ended well can be trained on. Go on with this one, or finish it with the best so far."
    if row is None:
        return f"This version of Graft has no strategy {spec.strategy!r}, so the run cannot be trained on."
    if not row.takes_steps and spec.solver == "logistic":
        return (
            "This run fitted the last layer alone, and found the best one for its pictures: more epochs would not change it. "
            "Choose a strategy that trains stages of the network."
        )
    if not row.takes_steps:
        return "This run trained the last layer alone, which takes seconds: train again with more epochs."
    return None


def _start(
    workspace: Workspace,
    dataset: DatasetFolder,
    spec: TrainSpec,
    *,
    out: Path | None,
    key: str | None,
    give: Callable[[Path], None] = lambda folder: None,
) -> RunFolder:
    """Make the run of `spec` on `dataset` and start it. `give` puts further files into its new folder. Raises as `submit_training`."""
    store = swept(workspace)
    expected = outlook(spec, dataset)
    require_room(store.queue)
    inside = workspace.path / RunFolder.stored_in / identifier(key)
    if out is None:
        images = len(dataset.manifest().images)
        with room_for(workspace, promised=0 if inside.is_dir() else expected_bytes(spec, images)):
            path, claim = make(inside, spec)
    else:
        require_free(store)
        path, claim = make_outside(out, spec)
    run = RunFolder(path)
    if claim is None:
        return run
    try:
        give(path)
    except BaseException:
        run.discard()
        locks.release([claim])
        raise
    hand_over(run, claim, store=store.root, expected=expected)
    return run


def finish_with_best(run: RunFolder, *, workspace: Workspace | None = None) -> RunFolder:
    """Take a run to a bundle from the best state that it wrote; one that still trains is stopped first.

    The run goes on in its own folder, so its events go on behind the first "ended". One that succeeded, or that is
    finishing already, is left alone. If it cannot be started, its record stays as it was. Where its device is not here any more,
    another one finishes it: no step is taken.

    Raises:
        NotFound: it wrote none, or its data set is gone.
        LimitReached: too many jobs wait or work here.
        OverBudget: the workspace has no room for its bundle.
        DiskFull: the disk has no room for it.
    """

    def check(dataset: DatasetFolder) -> None:
        if not run.best.is_file():
            raise NotFound(
                "This run has nothing to finish with: it was stopped before its first improvement. Start it again."
            )

    def change() -> None:
        run.finish_file.touch()
        run.expected_file.unlink(missing_ok=True)
        run.status_file.unlink(missing_ok=True)

    return _run_again(run, workspace, check, change, stop=lambda: not run.finishing and run.best.is_file())


def resume(run: RunFolder, *, workspace: Workspace | None = None, from_start: bool = False) -> RunFolder:
    """Go on with a run that ended before its end: from its checkpoint, or `from_start`.

    The run goes on in its own folder and with its own spec: the same pictures, split, options and seed. From a checkpoint, the curve and
    the weights are those of a run without the interruption, bit for bit on a processor. One that waits or works is left alone. If it
    cannot be started, its record stays as it was. Where its device is not here any more, it goes on on another one.

    Raises:
        NotFound: it has no checkpoint, or its data set is gone.
        DocumentError: its checkpoint is damaged.
        SpecError: it has ended well.
        LimitReached: too many jobs wait or work here, or it needs far more memory than one job may have.
        OverBudget: the workspace has no room for it.
        DiskFull: the disk has no room for it.
    """
    if run.status().state == "succeeded":
        raise SpecError("This run has ended well, so there is nothing to go on with.")
    epoch: int | None = None
    left = Outlook()

    def check(dataset: DatasetFolder) -> None:
        nonlocal epoch, left
        epoch = None if from_start else reached(run)
        left = outlook(after(run.spec(), epoch or 0), dataset)

    def change() -> None:
        left.write(run.expected_file)
        note_resumed(run, epoch)

    return _run_again(run, workspace, check, change)


def note_resumed(run: RunFolder, epoch: int | None) -> None:
    """Write into the record of `run`, which the caller has claimed, that it goes on after `epoch`; None: that it begins anew."""
    taken = Taken()
    for event in [] if epoch is None else run.events()[0]:
        taken.take(event)
    seconds, started = taken.in_all(), None if epoch is None else run.status().started
    run.finish_file.unlink(missing_ok=True)
    resumed = Resumed(epoch=epoch, seconds=seconds)
    Status(state="queued", started=started, seconds=seconds, resumed=resumed).write(run.status_file)


def reached(run: RunFolder) -> int:
    """The epoch from whose checkpoint `run` can go on. Raises NotFound, DocumentError."""
    try:
        found = run.checkpoint()
    except NotFound:
        raise NotFound(
            "This run has no checkpoint to go on from: it was stopped before its first one, or learns nothing epoch by epoch. "
            "Start it again; what is in the cache is not computed again."
        ) from None
    if not run.best.is_file():
        raise NotFound("The best state of this run is gone, so it cannot go on. Start it again.")
    return found.epoch


def _run_again(
    run: RunFolder,
    workspace: Workspace | None,
    check: Callable[[DatasetFolder], None],
    change: Callable[[], None],
    *,
    stop: Callable[[], bool] = lambda: False,
) -> RunFolder:
    """Submit `run` once more, in its own folder.

    One that waits or works is left alone, or stopped first if `stop` says so. While nobody else can submit or run it, `check` is called
    with its data set, then `change`, which prepares its record. If it cannot be started, the record is again as it was.
    """
    spec, known = run.spec(), offered_devices()
    workspace = workspace or Store.default().workspace(spec.workspace)
    store = swept(workspace)
    require_free(store)
    if not run.alive():
        require_room(store.queue)
    elif stop():
        if carried_by(run):
            # Its race sees this at the next event, and goes on afterwards.
            run.finish_file.touch()
            return run
        cancel(run)
    dataset = _data_of(spec, workspace)
    claim = run.claim()
    if claim is None:
        return run
    # Nobody else submits or runs it now, so what the last worker left may be changed.
    record = (run.finish_file, run.cancel_file, run.expected_file, run.status_file, run.path / "spec.json")
    before: dict[Path, bytes | None] = {}

    def undo() -> None:
        # First, because on a full disk there is no other space for the record.
        remove(run.reserve)
        for file, content in before.items():
            remove(file) if content is None else write_atomically(file, content)

    try:
        if run.status().state == "succeeded":
            locks.release([claim])
            return run
        check(dataset)
        before |= {file: file.read_bytes() if file.exists() else None for file in record}
        # A run that is claimed counts with all that it is expected to write.
        with room_for(workspace):
            keep_reserve(run.reserve)
        change()
        run.cancel_file.unlink(missing_ok=True)
        if spec.device not in known:
            run.write_spec(spec.model_copy(update={"device": "auto"}))
    except BaseException:
        if before:
            undo()
        locks.release([claim])
        raise
    hand_over(run, claim, store=store.root, undo=undo)
    return run


def _data_of(spec: TrainSpec, workspace: Workspace) -> DatasetFolder:
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


def finish(
    job: JobFolder,
    on_event: Callable[[Event], object] | None,
    *,
    offset: int = 0,
    meanwhile: Callable[[], object] = lambda: None,
) -> None:
    """Follow `job` to its end, as `follow`. Raises what ended it, as the error that its worker met, if it did not succeed."""
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
