"""One job run to its end in this process: its turn on the device, its events written down, a final state whatever happens."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any, NoReturn

from tl_core.documents.base import Record
from tl_core.documents.events import Event, drive
from tl_core.documents.job import needs
from tl_core.errors import Cancelled, InUse
from tl_core.runs.failures import failure_of
from tl_core.runs.process.devices import resolve_device
from tl_core.runs.process.queue import Ticket, drop_ticket, take_ticket, wait_for_turn
from tl_core.runs.process.recorder import Recorder
from tl_core.runs.store import locks
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store

JobFunction = Callable[[Any], Generator[Event, None, None]]
"""Takes the job's folder: a DatasetFolder, RunFolder or QuestionFolder."""
_CANCELLED = "Cancelled."
_PATIENCE = 2.0
"""Seconds to wait for the lock of a job, which a reader or a deletion that is refused has for a moment."""


class Held(Record):
    """The locks of a job, as descriptors of the process that runs it or is about to start it."""

    lock: int
    """On the job folder."""
    dataset: int | None = None
    """On the data set that the job needs."""
    ticket: Ticket | None = None
    """The job's place in the queue of its device; None for jobs that need none."""

    @classmethod
    def of(cls, job: JobFolder) -> Held:
        """Take the lock of `job`. Raises InUse where somebody else has it."""
        lock = locks.take(job.lock, patience=_PATIENCE)
        if lock is None:
            raise InUse(f"{job.name!r} is at work already.")
        job.submitted.unlink(missing_ok=True)
        return cls(lock=lock)

    def completed(self, job: JobFolder, store: Store) -> Held:
        """Take the lock on the job's data set and a ticket for its device, unless they are held already.

        Raises:
            NotFound, SpecError: the data set is gone, or was not read to the end.
            DeviceError: the device is not on this machine.
        """
        about, device = needs(job.spec())
        dataset, ticket = self.dataset, self.ticket
        if device and ticket is None:
            ticket = take_ticket(store.queue, resolve_device(device))
        try:
            if about and dataset is None:
                dataset = store.workspace(about.workspace).dataset(about.dataset).hold()
        except BaseException:
            if ticket:
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
    device: int | None = None
    recorder = Recorder(job)
    try:
        try:
            held = held.completed(job, store)
            if held.ticket:
                recorder.device(held.ticket.device)
                device = drive(wait_for_turn(held.ticket, cancelled=job.cancel_file.exists), recorder.write)
            _work(job, recorder, find)
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
        locks.release(taken for taken in (device, held.dataset) if taken is not None)


def end_process_group() -> NoReturn:
    """End this process and all that it started, at once; what became of the job follows from its folder."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _work(job: JobFolder, recorder: Recorder, find: Callable[[str], JobFunction]) -> None:
    with closing(find(job.spec().job)(job)) as events:
        for event in events:
            recorder.write(event)
            if job.cancel_file.exists():
                raise Cancelled(_CANCELLED)
