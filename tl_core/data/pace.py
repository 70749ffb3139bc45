"""Long work: one function on many items, on all cores and in order; progress, speed and remaining time, at most four times a second.

Uses threads: Pillow and NumPy release the interpreter lock while they work.
"""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tl_core.documents.events import Progress, Stage
from tl_core.hardware import cores

Result = TypeVar("Result")

AHEAD = 8
"""Results per core that may wait to be taken, so that only few are in memory however many items there are."""
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


def in_order(work: Callable[[int], Result], count: int, *, ahead: int | None = None) -> Generator[Result, None, None]:
    """Yield `work(0)` to `work(count - 1)`; at most `ahead` of them are computed before they are asked for.

    An error that `work` raises is raised where its result would be. Closing this generator waits for calls that have begun and
    cancels the rest.
    """
    threads = max(1, min(cores(), count))
    most = threads * AHEAD if ahead is None else max(1, ahead)
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for number in range(count):
            waiting.append(pool.submit(work, number))
            if len(waiting) > most:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
