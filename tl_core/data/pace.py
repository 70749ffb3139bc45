"""Reports progress, speed and remaining time of long work, at most four times a second."""

from __future__ import annotations

import time
from collections.abc import Iterator

from tl_core.documents.events import Progress, Stage

SECONDS_BETWEEN = 0.25


class Pace:
    """Counts `total` images (or, without `pictures`, megabytes) through a stage; `before` were done before the clock started."""

    def __init__(self, stage: Stage, total: int, *, before: int = 0, pictures: bool = True) -> None:
        self._stage: Stage = stage
        self._total = total
        self._before = before
        self._pictures = pictures
        self._started = time.monotonic()
        self._said = float("-inf")

    def at(self, done: int) -> Iterator[Progress]:
        """The event after `done` images; none where the last event was too recent. The last image always has one."""
        now = time.monotonic()
        if now - self._said < SECONDS_BETWEEN and done < self._total:
            return
        self._said = now
        elapsed = now - self._started
        rate = (done - self._before) / elapsed if done > self._before and elapsed > 0 else None
        yield Progress(
            stage=self._stage,
            done=done,
            total=max(self._total, done),
            seconds_left=max(self._total - done, 0) / rate if rate else None,
            images_per_second=rate if self._pictures else None,
        )
