"""Many sessions of the served app at the same time, each in a workspace of its own, while a job trains.

Before them one session is alone beside the same job, so that what the others cost can be told. Nobody may be sent what is another's;
that is a violation. How much slower reruns get and how much the app grows depends on the machine: both are measured and compared
with limits, in the figures.
"""

import asyncio
import os
import random
import shutil
import statistics
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from tests.soak import ground as look
from tests.soak.ground import Ground, Outcome, Part, ended, write_pictures
from tests.soak.served import App, serving
from tests.soak.visits import PREFIX, Seen, Visit, marks
from tl_core.documents.events import EpochEnded
from tl_core.runs.process.executor import cancel
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Workspace

SESSIONS = 50
MINUTES = 20.0
ALONE = 0.1
"""The time of the one session alone, as a share of the time of all; it acts more often, so that there is enough to count."""
EVERY = 10.0
"""Seconds between two things that a session does."""
_EVERY_ALONE = 1.0
_LEAST = 10
"""How often the one alone acts at least."""
_TRAINED = {"strategy": "full_fine_tuning", "epochs": 1000, "image_size": 224}
_EACH = 150
"""Pictures of each class that the job learns from: it takes longer than the campaign."""
_SAMPLE = 2.0
"""Seconds between two looks at the memory."""
_SLOWER, _GROWTH = 300.0, 5.0
"""Limits: milliseconds of the 95th percentile beyond that of a session alone; percent of memory in the second half."""
_LINKED = 50_000
"""Files of at least so many bytes are shared by the copies of a workspace."""


def run(ground: Ground, count: int = SESSIONS) -> Part:
    """`count` sessions for `ground.minutes`, after one alone for a part of that time."""
    outcome = Outcome()
    data = ground.read()
    outcome.violations += filter(None, [ended(data)])
    judge = ground.train(data, strategy="feature_extraction")
    outcome.violations += filter(None, [ended(judge)])
    tokens = [f"{PREFIX}{number:012x}" + ground.random.randbytes(8).hex() for number in range(count)]
    for token in tokens:
        _copy(ground, data, judge, token)
    minutes = ground.minutes or MINUTES
    write_pictures(ground.root / "many", each=_EACH)
    learnt_from = ground.read(ground.root / "many")
    outcome.violations += filter(None, [ended(learnt_from)])
    job = ground.train(learnt_from, **_TRAINED)
    if not any(isinstance(event, EpochEnded) for event in jobs.follow(job)):
        outcome.violations.append(f"the job that trains beside the sessions ended as {job.status().state}")
        return outcome
    yield f"{count} workspaces are made, and a job trains"
    try:
        with serving(ground) as app:
            alone = yield from _phase(ground, app, tokens[:1], minutes * ALONE, _EVERY_ALONE, _LEAST, outcome)
            many = yield from _phase(ground, app, tokens, minutes, EVERY, 1, outcome)
            _, found, after = app.log.read_text().partition("Traceback")
            if found:
                outcome.violations.append(f"the app's log has a traceback: {after[:6_000]}")
        if not job.alive():
            outcome.violations.append(f"the job beside the sessions did not train to the end: {job.status().state}")
    finally:
        cancel(job)
        outcome.violations += filter(None, [ended(job)])
    outcome.violations += look.settled(ground.store)
    outcome.figures |= {"sessions": count, "minutes": minutes, "alone": alone, "together": many}
    slower = many["all"]["p95 ms"] - alone["all"]["p95 ms"]
    growth = many["memory of the app"]["growth in the second half %"]
    outcome.figures["p95 beyond that of one alone"] = _against(slower, _SLOWER, "ms")
    outcome.figures["growth in the second half"] = _against(growth, _GROWTH, "%")
    return outcome


def _against(found: float, limit: float, unit: str) -> str:
    return f"{found:.1f} {unit}, {'within' if found < limit else 'BEYOND'} the limit of {limit:g} {unit}"


def _copy(ground: Ground, data: DatasetFolder, run: RunFolder, token: str) -> None:
    """Make a workspace whose token, ids and names begin with what is its own alone."""
    workspace = Workspace(ground.workspace.path.with_name(token))
    workspace.make()
    of_data, of_run = marks(token)
    for job, mark in ((data, of_data), (run, of_run)):
        made = type(job)(workspace.path / job.stored_in / mark)
        shutil.copytree(job.path, made.path, copy_function=_copy_file)
        spec = made.path / "spec.json"
        spec.write_text(spec.read_text().replace(data.id, of_data).replace(ground.workspace.token, token))
        made.rename(f"Of {of_data}")


def _copy_file(source: str, target: str) -> None:
    if Path(source).stat().st_size >= _LINKED:
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def _phase(
    ground: Ground, app: App, tokens: list[str], minutes: float, every: float, least: int, outcome: Outcome
) -> Generator[str, None, dict[str, Any]]:
    """Let the owners of `tokens` act for some minutes, each at least `least` times; the figures of that time."""
    seen = Seen()
    everybody = [path.name for path in ground.workspace.path.parent.iterdir()]
    known = frozenset(mark.encode() for token in everybody for mark in marks(token))
    picture = ground.new[0].read_bytes()
    memory: list[tuple[float, float]] = []
    before, began = _used(app), time.monotonic()
    with asyncio.Runner() as runner:
        until = runner.get_loop().time() + minutes * 60
        visits = [
            Visit(app.address, token, known, picture, seen, random.Random(f"{ground.seed} {token}")).act(
                every=every, first=min(every, minutes * 6) * number / len(tokens), until=until, least=least
            )
            for number, token in enumerate(tokens)
        ]
        acting = [runner.get_loop().create_task(visit) for visit in visits]
        while not all(task.done() for task in acting):
            runner.run(asyncio.wait(acting, timeout=_SAMPLE))
            memory.append(app.memory())
            if len(memory) % 30 == 0:
                yield f"{len(tokens)} sessions, {len(seen.reruns)} reruns, the app has {memory[-1][0]:.0f} MB"
        for task in acting:
            task.result()
    outcome.violations += sorted(set(seen.violations))
    if seen.counts["pictures not answered"]:
        outcome.violations.append(f"pictures were neither answered nor told to wait: {dict(seen.counts)}")
    shares = {
        name: (now - then) / (time.monotonic() - began)
        for (name, now), then in zip(_used(app).items(), before.values(), strict=True)
    }
    kinds = {kind for kind, _ in seen.reruns}
    return {
        "all": _times([seconds for kind, seconds in seen.reruns if kind != "opening"]),
        **{kind: _times([seconds for name, seconds in seen.reruns if name == kind]) for kind in sorted(kinds)},
        "counts": dict(seen.counts),
        "runs of pages": dict(seen.opened),
        "errors said": dict(seen.said),
        "memory of the app": _memory([app for app, _ in memory]),
        "most memory of its decoders, MB": round(max(decoders for _, decoders in memory)),
        "share of a core": {name: round(share, 2) for name, share in shares.items()},
    }


def _used(app: App) -> dict[str, float]:
    """Seconds of processor time so far."""
    return {"app": app.processor_seconds(), "sessions": sum(os.times()[:2])}


def _times(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "reruns": len(ordered),
        **{f"p{share} ms": round(1000 * ordered[-(-len(ordered) * share // 100) - 1], 1) for share in (50, 95)},
    }


def _memory(samples: list[float]) -> dict[str, float]:
    """Medians of a twentieth of the samples, megabytes."""
    few = max(1, len(samples) // 20)
    middle = len(samples) // 2
    start, half, end = (
        statistics.median(part) for part in (samples[:few], samples[middle : middle + few], samples[-few:])
    )
    return {
        "start MB": round(start, 1),
        "half MB": round(half, 1),
        "end MB": round(end, 1),
        "growth in the second half %": round(100 * (end / half - 1), 2),
    }
