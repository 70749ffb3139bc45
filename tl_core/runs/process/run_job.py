"""One job run to its end in this process: its turn, its limits, its events written down, a final state whatever happens."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, NoReturn, Protocol

from tl_core import locks
from tl_core.documents.base import Record
from tl_core.documents.events import Event, Notice, StageStarted, UsedGpu, drive
from tl_core.errors import Cancelled, InUse, LimitReached
from tl_core.runs.failures import failure_of
from tl_core.runs.process.devices import DEVICES, working_cards
from tl_core.runs.process.queue import Ticket, drop_ticket, name_of, take_ticket, wait_for_turn
from tl_core.runs.process.recorder import LOOK_EVERY, Recorder
from tl_core.runs.process.watch import Late, Watch
from tl_core.runs.store.budgets import require_free
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store

JobFunction = Callable[[Any], Generator[Event, None, None]]
"""Takes the job's folder: a DatasetFolder, RunFolder, RaceFolder or TaskFolder."""
_FINISHED = "It was to end with its best state."
_PATIENCE = 2.0
"""Seconds to wait for the lock of a job, which a reader or a deletion that is refused has for a moment."""


class Stopped(Cancelled):
    """Who watches a job has ended it; the message is the reason, which its record keeps."""


class Bounds(Protocol):
    """What is watched beside a job while it works."""

    def take(self, event: Event) -> None:
        """Note an event of the job. Raises Stopped where that ends it."""

    def late(self) -> Late | None:
        """What is said of a job whose time is up; None before that."""

    def allow_finishing(self) -> None:
        """Give the job the time to deliver what it has."""


class Held(Record):
    """The locks of a job, as descriptors of the process that runs it or is about to start it."""

    lock: int
    """On the job folder."""
    dataset: int | None = None
    """On the data set that the job needs."""
    ticket: Ticket | None = None
    """The job's place in its queue."""

    @classmethod
    def of(cls, job: JobFolder) -> Held:
        """Take the lock of `job`. Raises InUse where somebody else has it."""
        lock = locks.take(job.lock, patience=_PATIENCE)
        if lock is None:
            raise InUse(f"{job.name!r} is at work already.")
        job.submitted.unlink(missing_ok=True)
        return cls(lock=lock)

    def completed(self, job: JobFolder, store: Store) -> Held:
        """Take the lock on the job's data set and a ticket of its queue, unless they are held already.

        Raises:
            NotFound, SpecError: the data set is gone, or was not read to the end.
            DeviceError: the device is not on this machine.
        """
        about = job.spec().about
        dataset, ticket = self.dataset, self.ticket
        if ticket is None:
            owner = about.workspace if about else job.workspace_folder.name
            ticket = take_ticket(store.queue, name_of(job.spec().queue), owner, job.expected())
        try:
            if about and dataset is None:
                dataset = store.workspace(about.workspace).dataset(about.dataset).hold()
        except BaseException:
            drop_ticket(ticket)
            raise
        return Held(lock=self.lock, dataset=dataset, ticket=ticket)

    def descriptors(self) -> list[int]:
        ticket = self.ticket.descriptor if self.ticket else None
        return [descriptor for descriptor in (self.lock, self.dataset, ticket) if descriptor is not None]

    def release(self) -> None:
        """Close the descriptors; processes that inherited them keep the locks."""
        locks.release(self.descriptors())


def run(job: JobFolder, held: Held, find: Callable[[str], JobFunction], store: Store) -> int:
    """Run `job`, whose lock is `held`, to its end in this process; the exit code. That lock stays held, the others are released.

    `find` gives the function of a kind of job ("ingest", "train"), and is called when the job's turn has come.
    """
    place: int | None = None
    recorder = Recorder(job)
    try:
        held = held.completed(job, store)
        ticket = held.ticket
        assert ticket is not None
        if ticket.queue in DEVICES:
            recorder.device(ticket.queue)
        cards = working_cards() if ticket.queue == "cuda" else ()
        place = drive(wait_for_turn(ticket, cancelled=job.cancel_file.exists), recorder.write)
        if cards:
            # From now on the process sees only the card of its place.
            card = working_cards()[0]
            several = sum(other.name == card.name for other in cards) > 1
            recorder.device(ticket.queue, gpu=UsedGpu(name=card.name, uuid=card.uuid, one_of_several=several))
        require_free(store)
        watch = Watch(ticket, recorder.memory, lambda reason: _end_now(recorder, reason))
        recorder.sample(watch.look, LOOK_EVERY)
        try:
            for _ in carried_out(job, recorder, find(job.spec().job), watch):
                pass
        finally:
            watch.close()
        return record_end(recorder)
    except BaseException as error:  # noqa: BLE001  whatever ended it, the user reads a sentence
        return record_end(recorder, error)
    finally:
        recorder.close()
        if held.ticket:
            drop_ticket(held.ticket)
        locks.release(taken for taken in (place, held.dataset) if taken is not None)


def carried_out(
    job: JobFolder, recorder: Recorder, function: JobFunction, bounds: Bounds
) -> Generator[Event, None, str | None]:
    """Do the job, each event written down before it is yielded; the reason where it ended with its best state before its end.

    Where its time is up, or somebody wants it to finish, its function is begun once more, which then finds the folder `finishing`.

    Raises:
        Cancelled: somebody cancelled the job; `Stopped`: its bounds did.
        GraftError: its time is up, and it has nothing yet; whatever else `function` raises.
    """
    reason: str | None = None
    while True:
        # A job that delivers what it has is let go on: nothing would be won by beginning with that once more.
        delivers = job.finishing
        with closing(function(job)) as events:
            for event in events:
                recorder.write(event)
                yield event
                if job.cancel_file.exists():
                    raise Cancelled("Cancelled.")
                bounds.take(event)
                if isinstance(event, StageStarted) and event.stage in job.delivers_in:
                    delivers = True
                    bounds.allow_finishing()
                if delivers:
                    continue
                late = bounds.late()
                if late is not None and not (job.finishing or job.finish_early()):
                    raise late.nothing_yet
                if job.finishing:
                    reason = late.reason if late else _FINISHED
                    recorder.write(Notice(level="warning" if late else "info", message=reason))
                    bounds.allow_finishing()
                    break
            else:
                return reason


def record_end(recorder: Recorder, error: BaseException | None = None, *, reason: str | None = None) -> int:
    """Write into the record of a job that it ended well, or with `error`, in words; the exit code. `reason` as in `Status`."""
    if error is None:
        recorder.end("succeeded", "Done.", None, reason=reason)
        return 0
    if isinstance(error, Cancelled):
        recorder.end("cancelled", error.message, None, reason=error.message if isinstance(error, Stopped) else None)
        return error.exit_code
    failure = failure_of(error)
    if failure.kind == "bug":
        recorder.log("".join(traceback.format_exception(error)))
    recorder.end("failed", failure.message, failure)
    return failure.exit_code


def end_process_group() -> NoReturn:
    """End this process and all that it started, at once; what became of the job follows from its folder."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _end_now(recorder: Recorder, error: LimitReached) -> None:
    """End the job from a thread, where it does not come back to look at its limits itself."""
    try:
        record_end(recorder, error)
    finally:
        end_process_group()
