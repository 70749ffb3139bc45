"""One job run to its end in this process: its turn, its limits, its events written down, a final state whatever happens.

Beside a job that works it is watched how long it may work, how much memory it may have, and what its ticket tells others. A job that reaches
a limit ends with a sentence. Between two of its events it looks at its time itself; a thread ends it where a library does not come back, or
where memory runs out. A signal ends a process in which not even a thread can run.
"""

import os
import signal
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from typing import Any, NamedTuple, NoReturn, Protocol, Self

from tl_core import locks, settings
from tl_core.documents.base import Record
from tl_core.documents.events import Event, Notice, Outlook, Progress, StageStarted, UsedGpu, drive
from tl_core.errors import Cancelled, GraftError, InUse, LimitReached
from tl_core.hardware import PeakMemory, available_mb, total_mb
from tl_core.runs.process.devices import DEVICES, working_cards
from tl_core.runs.process.queue import Ticket, drop_ticket, name_of, take_ticket, wait_for_turn
from tl_core.runs.process.recorder import LOOK_EVERY, Recorder
from tl_core.runs.store.budgets import require_free
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store
from tl_core.wording import duration

JobFunction = Callable[[Any], Generator[Event, None, None]]
"""Takes the job's folder: a DatasetFolder, RunFolder, RaceFolder or TaskFolder."""
_FINISHED = "It was to end with its best state."
_GRACE = 60.0
"""Seconds that a job has to stop by itself when its time is up; where it may work for less than that, as long again."""
_FINISHING = 900.0
"""Seconds for writing and judging a classifier with the best state that there is when the time is up."""
_LARGE = 0.1
"""Share of the machine's memory from which on a job is one that takes memory from others."""
_EACH_JOB = 0.8
"""Share of the machine's memory that one job may have, where the operator does not say."""
_SETTLED = 60.0
"""Seconds at work after which the memory of a job is known from what it had, no longer from what was expected."""
_GROWTH = 1.1
"""The memory that a job may still come to, as a factor of the most that it had."""
_EVERY = 1.0
"""Seconds between two looks at the machine's memory and two outlooks of the ticket."""
_PATIENCE = 2.0
"""Seconds to wait for the lock of a job, which a reader or a deletion that is refused has for a moment."""


def most_memory_mb() -> float:
    """Memory that one job may have on this machine, megabytes."""
    return settings.current().job_memory_gb * 1000 or _EACH_JOB * total_mb()


class Late(NamedTuple):
    """What is said of a job whose time is up."""

    reason: str
    """The sentence with which it ends with its best state."""
    nothing_yet: GraftError
    """What ends it where it has none."""


class Bounds(Protocol):
    """What is watched beside a job while it works."""

    def take(self, event: Event) -> None:
        """Note an event of the job. Raises Stopped where that ends it."""

    def late(self) -> Late | None:
        """What is said of a job whose time is up; None before that."""

    def allow_finishing(self) -> None:
        """Give the job the time to deliver what it has."""


class Watch:
    """The limits of one job, whose turn has come with this object (`run_job.Bounds`). `end` ends the job, from a thread, with the reason."""

    def __init__(self, ticket: Ticket, memory: PeakMemory, end: Callable[[LimitReached], None]) -> None:
        self._ticket, self._memory, self._end = ticket, memory, end
        self._expected = ticket.outlook()
        self._begun = self._looked = time.monotonic()
        self._seconds_left: float | None = None
        chosen = settings.current()
        self._total, self._most = total_mb(), most_memory_mb()
        self._allowed = ticket.line.hours(chosen) * 3600
        self._grace = min(_GRACE, self._allowed)
        self._extend(0.0)

    def allow_finishing(self) -> None:
        self._extend(max(0.0, time.monotonic() + _FINISHING - self._begun - self._allowed))

    def late(self) -> Late | None:
        if time.monotonic() <= self._deadline:
            return None
        reason = f"It has worked for {duration(self._allowed)}, as long as one job may here. It ends with its best state so far."
        return Late(reason, self._time_is_up())

    def take(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._seconds_left = event.seconds_left

    def look(self) -> None:
        """Look at the limits, from a thread and many times a second; end the job where one is reached."""
        used_mb, now = self._memory.look(), time.monotonic()
        if used_mb > self._most:
            self._end(
                self._too_large(f"It needs more than {self._most / 1000:.1f} GB, the most that one job may have here.")
            )
        if now > self._deadline + self._grace:
            self._end(self._time_is_up())
        if now - self._looked >= _EVERY:
            self._looked = now
            left = available_mb("cpu") if used_mb > _LARGE * self._total else None
            if left is not None and left < self._ticket.line.spare * self._total:
                self._end(
                    self._too_large(
                        f"It has {used_mb / 1000:.1f} GB, and only {left / 1000:.1f} GB are left on this machine."
                    )
                )
            # A full disk must not end the watch: what others learn may be old, the limits of this job hold.
            with suppress(OSError):
                self._ticket.tell(self._outlook(used_mb, now - self._begun))

    def close(self) -> None:
        """Let the process live on."""
        if self._allowed:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _extend(self, seconds: float) -> None:
        """Let the job work for `seconds` more than it may."""
        self._deadline = self._begun + self._allowed + seconds if self._allowed else float("inf")
        if self._allowed:
            # Its default action ends the process, also while a library holds the interpreter.
            last = self._deadline - time.monotonic() + 2 * self._grace + 1
            signal.setitimer(signal.ITIMER_REAL, max(1.0, last))

    def _outlook(self, used_mb: float, worked: float) -> Outlook:
        estimates = [] if self._seconds_left is None else [self._seconds_left]
        if self._expected.seconds is not None:
            estimates.append(max(0.0, self._expected.seconds - worked))
        needed = self._expected.memory_mb or settings.current().job_needs_mb
        if worked >= _SETTLED:
            needed = min(self._most, _GROWTH * self._memory.megabytes())
        return Outlook(seconds=max(estimates, default=None), memory_mb=max(0.0, needed - used_mb), running=True)

    def _time_is_up(self) -> LimitReached:
        return LimitReached(
            f"It was stopped because one job may work for {duration(self._allowed)} here. {self._ticket.line.lighter}"
        )

    def _too_large(self, reason: str) -> LimitReached:
        return LimitReached(f"It was stopped before the machine's memory ran out. {reason} {self._ticket.line.lighter}")


class Held(Record):
    """The locks of a job, as descriptors of the process that runs it or is about to start it."""

    lock: int
    """On the job folder."""
    dataset: int | None = None
    """On the data set that the job needs."""
    ticket: Ticket | None = None
    """The job's place in its queue."""

    @classmethod
    def of(cls, job: JobFolder) -> Self:
        """Take the lock of `job`. Raises InUse where somebody else has it."""
        lock = locks.take(job.lock, patience=_PATIENCE)
        if lock is None:
            raise InUse(f"{job.name!r} is at work already.")
        job.submitted.unlink(missing_ok=True)
        return cls(lock=lock)

    def completed(self, job: JobFolder, store: Store) -> Self:
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
        return self.model_copy(update={"dataset": dataset, "ticket": ticket})

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
    except BaseException as error:  # noqa: BLE001  whatever ended it, the user reads a sentence
        return recorder.end(error)
    else:
        return 0
    finally:
        recorder.close()
        if held.ticket:
            drop_ticket(held.ticket)
        locks.release(taken for taken in (place, held.dataset) if taken is not None)


def carried_out(
    job: JobFolder, recorder: Recorder, function: JobFunction, bounds: Bounds
) -> Generator[Event, None, None]:
    """Do the job, each event written down before it is yielded, to its end, which is written down where it is a good one.

    Where its time is up, or somebody wants it to finish, its function is begun once more, which then finds the folder `finishing`, and the
    record has the reason.

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
                recorder.end(reason=reason)
                return


def end_process_group() -> NoReturn:
    """End this process and all that it started, at once; what became of the job follows from its folder."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _end_now(recorder: Recorder, error: LimitReached) -> None:
    """End the job from a thread, where it does not come back to look at its limits itself."""
    try:
        recorder.end(error)
    finally:
        end_process_group()
