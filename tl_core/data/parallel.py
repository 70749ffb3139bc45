"""Runs one function on many items, on all cores, and returns the results in order.

Uses threads: Pillow and NumPy release the interpreter lock while they work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tl_core.hardware import cores

Result = TypeVar("Result")

AHEAD = 8
"""Results per core that may wait to be taken, so that only few are in memory however many items there are."""


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
