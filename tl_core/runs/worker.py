"""The process of one job: `python -m tl_core.runs.worker JOB_DIR HELD`, started by `executors`.

It waits for its turn, runs the job's generator, writes down its events, and ends in a state with a sentence, whatever
happens. Nothing heavy is imported before its turn. Knows nothing of what jobs do: `pipeline` has them in a table.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator
from contextlib import closing
from pathlib import Path
from typing import NoReturn

from tl_core.documents.base import Record
from tl_core.documents.events import Event
from tl_core.errors import Cancelled
from tl_core.runs import locks
from tl_core.runs.failures import failure_of
from tl_core.runs.folders import JobFolder, open_job
from tl_core.runs.pipeline import JOBS, JobFunction
from tl_core.runs.queue import Ticket, drop_ticket, wait_for_turn
from tl_core.runs.recorder import Recorder

NICENESS = 10
GRACE = 1.2
"""Seconds that a job has to stop by itself once it was cancelled."""
_POLL = 0.1
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


def _end_group() -> None:
    """End this process and all that it started, at once; the folder tells the rest."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _watch_app() -> None:
    """The other end of stdin is the app: it closes when the app ends, however that came."""
    while os.read(0, 1024):
        continue
    _end_group()


def _watch_cancel(job: JobFolder) -> None:
    """End a job that does not stop by itself; the app does the same, but only for the workers that it started."""
    while not job.cancel_file.exists():
        time.sleep(_POLL)
    time.sleep(GRACE)
    _end_group()


def main(arguments: list[str], *, find: Callable[[str], JobFunction] = JOBS.__getitem__) -> NoReturn:
    """Be the worker of one job: `arguments` are its folder and its locks (`Held` as JSON)."""
    os.nice(NICENESS)
    faulthandler.enable()
    job = open_job(Path(arguments[0]))
    held = Held.model_validate_json(arguments[1])
    for descriptor in held.descriptors():
        os.set_inheritable(descriptor, False)
    threading.Thread(target=_watch_app, daemon=True).start()
    threading.Thread(target=_watch_cancel, args=(job,), daemon=True).start()
    code = run(job, held, find)
    sys.stdout.flush()
    sys.stderr.flush()
    # Libraries' threads and helpers must not keep the locks, or the device, after the last word was written.
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
