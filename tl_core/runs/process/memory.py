"""The peak of the memory that belongs to this process alone."""

from __future__ import annotations

import os
from pathlib import Path

from tl_core.hardware import peak_resident_mb

_STATM = Path("/proc/self/statm")


class PeakMemory:
    """The largest resident memory without mapped files, of all readings.

    Mapped files, such as the pixels of a data set, do not count: the system takes their pages back when memory is needed.
    Only Linux tells them apart; elsewhere everything resident counts.
    """

    def __init__(self) -> None:
        self._most = 0

    def look(self) -> None:
        """Take a reading."""
        if _STATM.exists():
            _, resident, shared, *_ = _STATM.read_text().split()
            self._most = max(self._most, (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE"))

    def megabytes(self) -> float:
        """The largest so far, megabytes."""
        self.look()
        return round(self._most / 1e6 if self._most else peak_resident_mb(), 1)
