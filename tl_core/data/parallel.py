"""The same work on many things, on all cores, in order. Threads: Pillow lets go of the interpreter while it works. Knows no work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tl_core.hardware import cores

Result = TypeVar("Result")

AHEAD = 8
"""Results, a core, that may wait to be taken: however many things there are, few are in memory."""


def in_order(work: Callable[[int], Result], count: int, *, ahead: int | None = None) -> Generator[Result, None, None]:
    """What `work` gives for 0 to `count` - 1; at most `ahead` of them are done before they are asked for.

    An error of `work` is raised in its place. Closing this generator waits for what has begun and drops the rest.
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
