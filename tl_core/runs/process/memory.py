"""How much memory this process takes for itself. Knows no job."""

from __future__ import annotations

import os
import resource
import sys
import threading
from pathlib import Path

_INTERVAL = 0.05
"""Seconds between two looks, which take 20 microseconds each."""
_STATM = Path("/proc/self/statm")


class PeakMemory:
    """The most that was this process's own, looked at all the time by a thread of its own.

    Files that are mapped, such as the pixels of a data set, do not count on Linux: they may fill what is free, and the system
    takes their pages back when somebody needs them. Elsewhere it is all that was ever resident.
    """

    def __init__(self) -> None:
        self._most = 0
        self._ended = threading.Event()
        if _STATM.exists():
            threading.Thread(target=self._watch, name="memory", daemon=True).start()

    def megabytes(self) -> float:
        """The largest so far."""
        if _STATM.exists():
            self._look()
            return round(self._most / 1e6, 1)
        unit = 1 if sys.platform == "darwin" else 1024
        return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6, 1)

    def stop(self) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self._look()

    def _look(self) -> None:
        _, resident, shared, *_ = _STATM.read_text().split()
        self._most = max(self._most, (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE"))
