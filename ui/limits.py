"""How often the visitors from one address may start jobs and make workspaces, counted over the last hour.

The counts live in this process and are forgotten when it ends. Where the address is not known, nothing is limited.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from tl_core import settings
from tl_core.errors import LimitReached
from tl_core.runs.store.store import Workspace
from tl_core.settings import Settings
from ui import visitor
from ui.words import duration

_HOUR = 3600.0
_CROWDED = 1000
"""Number of addresses from which on those that did nothing within the hour are forgotten."""


class Hourly:
    """At most `most` of something within an hour for each address; 0 is no limit. `words` says what, for the user."""

    def __init__(self, words: str, most: Callable[[Settings], int]) -> None:
        self.words, self._most = words, most
        self._moments: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def wait(self, address: str, now: float) -> float:
        """Seconds until it may happen again; 0 where it may now."""
        most = self._most(settings.current())
        with self._lock:
            moments = self._recent(address, now)
        return _HOUR - (now - moments[-most]) if 0 < most <= len(moments) else 0.0

    def count(self, address: str, now: float) -> None:
        """Note that it happens now."""
        with self._lock:
            self._moments[address] = [*self._recent(address, now), now]
            if len(self._moments) > _CROWDED:
                self._moments = {known: recent for known in self._moments if (recent := self._recent(known, now))}

    def _recent(self, address: str, now: float) -> list[float]:
        return [moment for moment in self._moments.get(address, ()) if now - moment < _HOUR]


STARTS = Hourly("jobs", lambda found: found.starts_an_hour)
WORKSPACES = Hourly("workspaces", lambda found: found.workspaces_an_hour)


def enter(workspace: Workspace, *, job: bool) -> None:
    """Count the start of a job, if it is one, and the making of `workspace`, if this is its first use.

    Raises:
        LimitReached: the visitor's address has had its share; then nothing was counted.
    """
    address, now = visitor.address(), time.monotonic()
    limits = [limit for limit, used in ((STARTS, job), (WORKSPACES, not workspace.exists)) if used]
    if address is None or not limits:
        return
    waits = {limit: limit.wait(address, now) for limit in limits}
    longest = max(waits, key=waits.__getitem__)
    if waits[longest]:
        raise LimitReached(
            f"As many {longest.words} as this server allows within an hour have been asked for from your network address. "
            f"The next one is possible in {duration(60 * math.ceil(waits[longest] / 60))}; nothing here is lost."
        )
    for limit in limits:
        limit.count(address, now)
