"""The peak of the memory that belongs to this process alone."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from tl_core.hardware import peak_resident_mb

_INTERVAL = 0.05
"""Seconds between two readings, which take 20 microseconds each."""
_STATM = Path("/proc/self/statm")


class PeakMemory:
    """The largest resident memory without mapped files, read again and again by a thread.

    Mapped files, such as the pixels of a data set, do not count: the system takes their pages back when memory is needed.
    Only Linux tells them apart; elsewhere everything resident counts.
    """

    def __init__(self) -> None:
        self._most = 0
        self._ended = threading.Event()
        if _STATM.exists():
            threading.Thread(target=self._watch, name="memory", daemon=True).start()

    def megabytes(self) -> float:
        """The largest so far, megabytes."""
        if _STATM.exists():
            self._look()
            return round(self._most / 1e6, 1)
        return round(peak_resident_mb(), 1)

    def stop(self) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(_INTERVAL):
            self._look()

    def _look(self) -> None:
        _, resident, shared, *_ = _STATM.read_text().split()
        self._most = max(self._most, (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE"))
