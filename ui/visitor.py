"""From which network address a visitor comes, and how often the visitors from one may start jobs and make workspaces.

Headers that name an address are not read here: the server has replaced the connection's address by a forwarded one already,
where a proxy that the operator names has sent it. What was counted lives in this process and is forgotten when it ends. Where the address
is not known, nothing is limited.
"""

import ipaddress
import math
import threading
import time
from collections.abc import Callable
from typing import TypeVar

import streamlit as st

from tl_core import settings
from tl_core.errors import LimitReached
from tl_core.runs.store.store import Workspace
from tl_core.settings import Settings
from tl_core.wording import duration

UNREADABLE = "unreadable"
"""Stands for every address that a proxy forwards and that is none."""
_HOUR = 3600.0
Noted = TypeVar("Noted")


def address() -> str | None:
    """Where the browser of this session comes from, as `origin` gives it."""
    return origin(st.context.ip_address)


def origin(host: str | None) -> str | None:
    """The text by which visitors from one place are counted together: an IPv4 address, or the /64 network of an IPv6 address,
    because one line gets such a network whole.

    None where it is not known or says nothing: without a connection, on this machine itself, and in a Space where it is that of a
    proxy, which all visitors come from: any address if the operator names no proxy, and otherwise a private one.
    """
    on_space = settings.on_space()
    if not host or (on_space and not settings.current().proxies):
        return None
    try:
        address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(host)
    except ValueError:
        return UNREADABLE
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address
    if address.is_loopback or (on_space and address.is_private):
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


class Places(dict[str, Noted]):
    """What is noted of visitors, by where they come from; of very many places, the one that was quiet for longest is forgotten first."""

    def __init__(self, new: Callable[[], Noted], most: int = 10_000) -> None:
        super().__init__()
        self._new, self._most = new, most

    def at(self, place: str) -> Noted:
        """What is noted of `place`, from which somebody does something now."""
        # Taken out and put in again, so that those that were quiet for longest come first.
        noted = self[place] = self.pop(place) if place in self else self._new()
        if len(self) > self._most:
            del self[next(iter(self))]
        return noted


class Hourly:
    """At most `most` of something within an hour for each address; 0 is no limit. `words` says what, for the user."""

    def __init__(self, words: str, most: Callable[[Settings], int]) -> None:
        self.words, self._most = words, most
        self._moments: Places[list[float]] = Places(list)
        self._lock = threading.Lock()

    def wait(self, address: str, now: float) -> float:
        """Seconds until it may happen again; 0 where it may now."""
        most = self._most(settings.current())
        with self._lock:
            moments = [moment for moment in self._moments.get(address, ()) if now - moment < _HOUR]
        return _HOUR - (now - moments[-most]) if 0 < most <= len(moments) else 0.0

    def count(self, address: str, now: float) -> None:
        """Note that it happens now."""
        with self._lock:
            moments = self._moments.at(address)
            moments[:] = [*(moment for moment in moments if now - moment < _HOUR), now]


STARTS = Hourly("jobs", lambda found: found.starts_an_hour)
WORKSPACES = Hourly("workspaces", lambda found: found.workspaces_an_hour)


def enter(workspace: Workspace, *, job: bool) -> None:
    """Count the start of a job, if it is one, and the making of `workspace`, if this is its first use.

    Raises:
        LimitReached: the visitor's address has had its share; then nothing was counted.
    """
    here, now = address(), time.monotonic()
    limits = [limit for limit, used in ((STARTS, job), (WORKSPACES, not workspace.exists)) if used]
    if here is None or not limits:
        return
    waits = {limit: limit.wait(here, now) for limit in limits}
    longest = max(waits, key=waits.__getitem__)
    if waits[longest]:
        raise LimitReached(
            f"As many {longest.words} as this server allows within an hour have been asked for from your network address. "
            f"The next one is possible in {duration(60 * math.ceil(waits[longest] / 60))}; nothing here is lost."
        )
    for limit in limits:
        limit.count(here, now)
