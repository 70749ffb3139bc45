"""How long the next password must wait after wrong ones: from one place, and from all together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Pace:
    free: int
    """Wrong passwords that cost no wait."""
    longest: float
    """Seconds that a wait never exceeds; each further wrong password doubles it until then, from one second."""


HERE = Pace(free=4, longest=900)
ALL = Pace(free=30, longest=10)
"""Short, because it also holds up those who know the password: it stops guessing from thousands of places."""
FORGOTTEN = 3600
"""Seconds without a wrong password after which the earlier ones are forgotten."""
MOST = 10_000
"""Places that are remembered; the one that was quiet for longest is forgotten first."""


@dataclass
class _Record:
    wrong: int = 0
    last: float = 0.0

    def wait(self, pace: Pace, now: float) -> float:
        over = self.wrong - pace.free
        if over < 0 or now - self.last > FORGOTTEN:
            return 0.0
        return max(0.0, self.last + min(2.0 ** min(over, 30), pace.longest) - now)

    def count(self, now: float) -> None:
        self.wrong = 1 if now - self.last > FORGOTTEN else self.wrong + 1
        self.last = now


@dataclass
class Attempts:
    """Wrong passwords so far. Used by one thread."""

    clock: Callable[[], float] = time.monotonic
    _places: dict[str, _Record] = field(default_factory=dict)
    _all: _Record = field(default_factory=_Record)

    def wait(self, place: str | None) -> float:
        """Seconds until a password from `place` is looked at; 0 is now. None is a place that is not known."""
        now = self.clock()
        here = self._places.get(place, _Record()) if place else _Record()
        return max(here.wait(HERE, now), self._all.wait(ALL, now))

    def wrong(self, place: str | None) -> None:
        now = self.clock()
        self._all.count(now)
        if place:
            record = self._places.pop(place, _Record())
            record.count(now)
            self._places[place] = record
        if len(self._places) > MOST:
            del self._places[next(iter(self._places))]

    def right(self, place: str | None) -> None:
        """Forget the wrong passwords from `place`."""
        if place:
            self._places.pop(place, None)
