"""How often the visitors from one address may start jobs and make workspaces, counted over the last hour.

The counts live in this process and are forgotten when it ends. Where the address is not known, nothing is limited.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_network

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
        self._moments: dict[str, deque[float]] = {}
        self._lock = threading.Lock()

    def wait(self, address: str, now: float) -> float:
        """Seconds until it may happen again; 0 where it may now."""
        most = self._most(settings.current())
        with self._lock:
            moments = self._moments.get(address, deque())
            while moments and now - moments[0] >= _HOUR:
                moments.popleft()
            return _HOUR - (now - moments[-most]) if 0 < most <= len(moments) else 0.0

    def count(self, address: str, now: float) -> None:
        """Note that it happens now."""
        with self._lock:
            self._moments.setdefault(address, deque()).append(now)
            if len(self._moments) > _CROWDED:
                self._moments = {
                    known: moments for known, moments in self._moments.items() if now - moments[-1] < _HOUR
                }


def _address() -> str | None:
    """The visitor's address; None where it is that of a Space's own proxy, which everybody comes through."""
    address = visitor.address()
    with suppress(ValueError):
        if settings.on_space() and address and ip_network(address).is_private:
            return None
    return address


STARTS = Hourly("jobs", lambda found: found.starts_an_hour)
WORKSPACES = Hourly("workspaces", lambda found: found.workspaces_an_hour)


def enter(workspace: Workspace, *, job: bool) -> None:
    """Count the start of a job, if it is one, and the making of `workspace`, if this is its first use.

    Raises:
        LimitReached: the visitor's address has had its share; then nothing was counted.
    """
    address, now = _address(), time.monotonic()
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
