"""Memory runs out in a worker: training under limits on what it may map, from far too little to plenty.

Every run must end in words, and the next one without a limit must work.
"""

import os

from tests.soak import ground as look
from tests.soak import limited
from tests.soak.ground import Ground, Outcome, Part, ended
from tests.soak.kills import FITTED, LEARNT, STARTS

LEVELS = 10
_LEAST, _MOST = 120, 4_000
"""Megabytes; the levels lie between them, each the same factor above the one before."""


def run(ground: Ground, count: int = LEVELS) -> Part:
    """`count` levels: at each a data set is read, a head is fitted, and stages learn."""
    outcome = Outcome()
    data = ground.read()
    outcome.violations += filter(None, [ended(data)])
    judge = ground.train(data, **FITTED)
    outcome.violations += filter(None, [ended(judge)])
    answers = ground.predict(judge)
    for number in range(count):
        level = round(_LEAST * (_MOST / _LEAST) ** (number / max(1, count - 1)))
        limited.limit_file(ground.store).write_text(str(level * 1_000_000))
        os.environ["GRAFT_EXECUTOR"] = limited.EXECUTOR
        states = {}
        for what, start in STARTS.items():
            job = start(ground, data)
            problem = ended(job)
            status = job.status()
            states[what] = status.state
            if problem:
                outcome.violations.append(f"{what} with {level} MB: {problem}")
            elif status.state != "succeeded" and not (status.failure and status.failure.message):
                outcome.violations.append(f"{what} with {level} MB ended as {status.state} without a word")
            job.delete()
        del os.environ["GRAFT_EXECUTOR"]
        problems = look.settled(ground.store) + look.documents(ground.workspace)
        if ground.predict(judge) != answers:
            problems.append("the finished classifier answers otherwise")
        outcome.violations += [f"after {level} MB: {problem}" for problem in problems]
        outcome.figures[f"{level} MB"] = states
        yield f"{level} MB: {', '.join(f'{what}: {state}' for what, state in states.items())}"
    following = ground.train(data, **LEARNT)
    outcome.violations += filter(None, [ended(following)])
    if following.status().state != "succeeded":
        outcome.violations.append(f"the next run is {following.status().state}")
    return outcome
