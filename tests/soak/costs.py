"""`python -m tests.soak.costs [KIND]`: processor time and memory of sixteen good pictures, and of six of a kind of `HOSTILE` beside them.

Decoders of their own take them, as in a job that reads a data set. It writes JSON: `seconds` of all decoders, with their start, and
`mb`, the most memory that one of them had.
"""

import json
import random
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from tests.hostile import FORMATS, HOSTILE, real
from tests.soak.ground import Watch
from tl_core.data.guarded import Pool
from tl_core.errors import UnreadableImage

GOOD, BAD = 16, 6
TIMES, MORE_SECONDS, MORE_MB = 2, 10.0, 150
"""What six bad pictures may cost: the time of the good ones this many times and so many seconds, and so much more memory."""


def problems(kind: str) -> list[str]:
    """What of `kind` is not as it must be."""
    good, both = measured(), measured(kind)
    right = {
        "they take too much time": both["seconds"] <= TIMES * good["seconds"] + MORE_SECONDS,
        "they take too much memory": both["mb"] <= good["mb"] + MORE_MB,
        "a good one was not taken": both["taken"] == GOOD,
    }
    return [f"{BAD} times {kind}: {problem} ({both}; without them {good})" for problem in right if not right[problem]]


@cache
def measured(*kind: str) -> dict[str, float]:
    """What it costs, from a process of its own."""
    done = subprocess.run([sys.executable, "-m", __name__, *kind], capture_output=True, check=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def _main(kinds: list[str]) -> None:
    numbers = random.Random(7)
    good = [real(FORMATS[number % len(FORMATS)], numbers) for number in range(GOOD)]
    bad = [HOSTILE[kind].make(numbers) for kind in kinds for _ in range(BAD)]
    pool = Pool(2)

    def taken(content: bytes) -> bool:
        try:
            return pool.make_copy(content, keep=True).width > 0
        except UnreadableImage:
            return False

    with Watch() as watch, ThreadPoolExecutor(2) as threads:
        results = list(threads.map(taken, [*good[: GOOD // 2], *bad, *good[GOOD // 2 :]]))
    pool.close()
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    healthy = results[: GOOD // 2] + results[-GOOD // 2 :]
    made = {"seconds": usage.ru_utime + usage.ru_stime, "mb": watch.most_mb["decoder"], "taken": sum(healthy)}
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    _main(sys.argv[1:])
