"""One job run to its end in this process: its turn on the device, its events written down, a final state whatever happens."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator
from contextlib import closing
from typing import Any

from tl_core.documents.base import Record
from tl_core.documents.events import Event
from tl_core.errors import Cancelled
from tl_core.runs.failures import failure_of
from tl_core.runs.process.queue import Ticket, drop_ticket, wait_for_turn
from tl_core.runs.process.recorder import Recorder
from tl_core.runs.store import locks
from tl_core.runs.store.job_folder import JobFolder

JobFunction = Callable[[Any], Generator[Event, None, None]]
"""Takes the job's folder: a DatasetFolder, RunFolder or QuestionFolder."""
_CANCELLED = "Cancelled."


class Held(Record):
    """The locks of a job, as descriptors, on their way from who starts it to who runs it."""

    lock: int
    """On the job folder."""
    dataset: int | None = None
    """On the data set that it needs."""
    ticket: Ticket | None = None
    """A place in the line of its device; None for jobs that need none."""

    def descriptors(self) -> list[int]:
        ticket = [self.ticket.descriptor] if self.ticket else []
        return [self.lock, *([] if self.dataset is None else [self.dataset]), *ticket]


def run(job: JobFolder, held: Held, find: Callable[[str], JobFunction]) -> int:
    """Run `job` to its end, in this process; the exit code.

    `find` gives the function of a kind of job ("ingest", "train"), and is asked once it is the job's turn. The locks in
    `held` but for the ticket stay held: who calls lets them go, by ending or with `locks.release`.
    """
    recorder = Recorder(job)
    device: int | None = None
    try:
        try:
            if held.ticket:
                recorder.device(held.ticket.device)
                device = yield_to(recorder, wait_for_turn(held.ticket, cancelled=job.cancel_file.exists))
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
        if device is not None:
            locks.release([device])


def yield_to(recorder: Recorder, events: Generator[Event, None, int]) -> int:
    """Write down all `events`; what their generator returns."""
    while True:
        try:
            recorder.write(next(events))
        except StopIteration as stop:
            return int(stop.value)


def _work(job: JobFolder, recorder: Recorder, find: Callable[[str], JobFunction]) -> None:
    with closing(find(job.spec().job)(job)) as events:
        for event in events:
            recorder.write(event)
            if job.cancel_file.exists():
                raise Cancelled(_CANCELLED)
