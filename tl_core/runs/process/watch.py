"""What is watched beside a job that works: how long it may work, how much memory it may have, and what its ticket tells others.

A job that reaches a limit ends with a sentence. Between two of its events the job looks at its time itself; a thread ends it
where a library does not come back, or where memory runs out. A signal ends a process in which not even a thread can run.
"""

import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from tl_core import settings
from tl_core.documents.events import Event, Outlook, Progress
from tl_core.errors import GraftError, LimitReached
from tl_core.hardware import PeakMemory, available_mb, total_mb
from tl_core.runs.process.queue import Ticket, in_words

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


def most_memory_mb() -> float:
    """Memory that one job may have on this machine, megabytes."""
    return settings.current().job_memory_gb * 1000 or _EACH_JOB * total_mb()


class Late(NamedTuple):
    """What is said of a job whose time is up."""

    reason: str
    """The sentence with which it ends with its best state."""
    nothing_yet: GraftError
    """What ends it where it has none."""


class Watch:
    """The limits of one job, whose turn has come with this object (`run_job.Bounds`). `end` ends the job, from a thread, with the reason."""

    def __init__(self, ticket: Ticket, memory: PeakMemory, end: Callable[[LimitReached], None]) -> None:
        self._ticket, self._memory, self._end = ticket, memory, end
        self._expected = ticket.outlook()
        self._begun = self._looked = time.monotonic()
        self._seconds_left: float | None = None
        found = settings.current()
        self._total, self._most = total_mb(), most_memory_mb()
        self._allowed = ticket.line.hours(found) * 3600
        self._grace = min(_GRACE, self._allowed)
        self._extend(0.0)

    def allow_finishing(self) -> None:
        self._extend(max(0.0, time.monotonic() + _FINISHING - self._begun - self._allowed))

    def late(self) -> Late | None:
        if time.monotonic() <= self._deadline:
            return None
        reason = f"It has worked for {in_words(self._allowed)}, as long as one job may here. It ends with its best state so far."
        return Late(reason, self._time_is_up())

    def take(self, event: Event) -> None:
        if isinstance(event, Progress):
            self._seconds_left = event.seconds_left

    def look(self) -> None:
        """Look at the limits, from a thread and many times a second; end the job where one is reached."""
        own, now = self._memory.look(), time.monotonic()
        if own > self._most:
            self._end(
                self._too_large(f"It needs more than {self._most / 1000:.1f} GB, the most that one job may have here.")
            )
        if now > self._deadline + self._grace:
            self._end(self._time_is_up())
        if now - self._looked >= _EVERY:
            self._looked = now
            left = available_mb("cpu") if own > _LARGE * self._total else None
            if left is not None and left < self._ticket.line.spare * self._total:
                self._end(
                    self._too_large(
                        f"It has {own / 1000:.1f} GB, and only {left / 1000:.1f} GB are left on this machine."
                    )
                )
            # A full disk must not end the watch: what others learn may be old, the limits of this job hold.
            with suppress(OSError):
                self._ticket.tell(self._outlook(own, now - self._begun))

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

    def _outlook(self, own: float, worked: float) -> Outlook:
        known = [] if self._seconds_left is None else [self._seconds_left]
        if self._expected.seconds is not None:
            known.append(max(0.0, self._expected.seconds - worked))
        needed = self._expected.memory_mb or settings.current().job_needs_mb
        if worked >= _SETTLED:
            needed = min(self._most, _GROWTH * self._memory.megabytes())
        return Outlook(seconds=max(known, default=None), memory_mb=max(0.0, needed - own), running=True)

    def _time_is_up(self) -> LimitReached:
        return LimitReached(
            f"It was stopped because one job may work for {in_words(self._allowed)} here. {self._ticket.line.lighter}"
        )

    def _too_large(self, found: str) -> LimitReached:
        return LimitReached(f"It was stopped before the machine's memory ran out. {found} {self._ticket.line.lighter}")
