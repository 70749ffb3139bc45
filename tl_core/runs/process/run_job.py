"""One job run to its end in this process: its turn, its limits, its events written down, a final state whatever happens."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, NoReturn

from tl_core import locks
from tl_core.documents.base import Record
from tl_core.documents.events import Event, Notice, drive
from tl_core.documents.job import needs
from tl_core.documents.status import UsedGpu
from tl_core.errors import Cancelled, InUse, LimitReached
from tl_core.runs.failures import failure_of
from tl_core.runs.process.devices import DEVICES, working_cards
from tl_core.runs.process.queue import Ticket, drop_ticket, name_of, take_ticket, wait_for_turn
from tl_core.runs.process.recorder import Recorder
from tl_core.runs.process.watch import Watch
from tl_core.runs.store.budgets import require_free
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store

JobFunction = Callable[[Any], Generator[Event, None, None]]
"""Takes the job's folder: a DatasetFolder, RunFolder, RaceFolder or TaskFolder."""
_CANCELLED = "Cancelled."
LOOK_EVERY = 0.05
"""Seconds between two looks at a job's limits. A reading of its memory takes 20 microseconds."""
_PATIENCE = 2.0
"""Seconds to wait for the lock of a job, which a reader or a deletion that is refused has for a moment."""


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
        about, queue = needs(job.spec())
        dataset, ticket = self.dataset, self.ticket
        if ticket is None:
            owner = about.workspace if about else job.workspace_folder.name
            ticket = take_ticket(store.queue, name_of(queue), owner, job.expected())
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
                own = working_cards()[0]
                several = sum(card.name == own.name for card in cards) > 1
                recorder.device(ticket.queue, gpu=UsedGpu(name=own.name, uuid=own.uuid, one_of_several=several))
            require_free(store)
            _work(job, recorder, find, ticket)
        except Cancelled:
            recorder.end("cancelled", _CANCELLED, None)
            return Cancelled.exit_code
        except BaseException as error:  # noqa: BLE001  whatever ended it, the user reads a sentence
            failure = failure_of(error)
            if failure.kind == "bug":
                recorder.log(traceback.format_exc())
            recorder.end("failed", failure.message, failure)
            return failure.exit_code
        recorder.end("succeeded", "Done.", None)
        return 0
    finally:
        recorder.close()
        if held.ticket:
            drop_ticket(held.ticket)
        locks.release(taken for taken in (place, held.dataset) if taken is not None)


def end_process_group() -> NoReturn:
    """End this process and all that it started, at once; what became of the job follows from its folder."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _work(job: JobFolder, recorder: Recorder, find: Callable[[str], JobFunction], ticket: Ticket) -> None:
    """Do the job within the limits of its queue. One whose time is up ends with what it has, if that is something."""

    def end(reason: LimitReached) -> None:
        failure = failure_of(reason)
        try:
            recorder.end("failed", failure.message, failure)
        finally:
            end_process_group()

    watch = Watch(ticket, recorder.memory, end)
    recorder.sample(watch.look, LOOK_EVERY)
    try:
        ended = _steps(job, recorder, find, watch)
        if not ended and job.finish_early():
            said = (
                f"It has worked for {watch.allowed}, as long as one job may here. It ends with its best state so far."
            )
            recorder.write(Notice(level="warning", message=said))
            watch.allow_finishing()
            ended = _steps(job, recorder, find, watch)
        if not ended:
            raise watch.time_is_up()
    finally:
        watch.close()


def _steps(job: JobFolder, recorder: Recorder, find: Callable[[str], JobFunction], watch: Watch) -> bool:
    """Whether the job came to its end before its time was up."""
    with closing(find(job.spec().job)(job)) as events:
        for event in events:
            recorder.write(event)
            watch.take(event)
            if job.cancel_file.exists():
                raise Cancelled(_CANCELLED)
            if watch.late():
                return False
    return True
