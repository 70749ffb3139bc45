"""SIGKILL at seeded moments: the worker of a reading, an addition or a run, in every stage, and the app or the command that started it.

Nothing that was finished may be lost or half there, the next run must work, and no process and no lock may be left.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from websockets.exceptions import ConnectionClosed

from tests.soak import ground as look
from tests.soak.ground import Answers, Ground, Outcome, Part, ended, kill, stages, worker_of, write_pictures
from tests.soak.served import App, serving
from tests.soak.visits import Seen, Visit
from tl_core.documents.events import StageStarted
from tl_core.errors import InUse
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store
from tl_core.runs.store.sweep import sweep
from ui.places import TRAIN

MOMENTS = 100
FITTED: Mapping[str, Any] = {"strategy": "feature_extraction"}
LEARNT: Mapping[str, Any] = {"strategy": "partial_fine_tuning", "stages": 1, "epochs": 3}
STARTS: Mapping[str, Callable[[Ground, DatasetFolder | None], JobFolder]] = {
    "reading": lambda ground, _: ground.read(),
    "fitted": lambda ground, data: ground.train(data, **FITTED),
    "learnt": lambda ground, data: ground.train(data, **LEARNT),
}
"""What starts a job of each kind, the last two on a data set."""
_TRIES = 4
_DELETED = 2_000
"""Pictures of a data set that is deleted, so that it takes a while."""


@dataclass
class Finished:
    """What was finished before anything is killed, and must stay so."""

    data: DatasetFolder
    run: RunFolder
    answers: Answers
    known: dict[str, list[tuple[str, float]]]
    """The stages of each kind of job and how long they took when nobody killed it."""
    told: list[str] = field(default_factory=list)
    """What was met since the last look that nobody may meet."""


class Moment(NamedTuple):
    said: str
    hit: bool
    """Whether something was at work then."""


Way = Callable[[Ground, Finished], Moment]


def run(ground: Ground, count: int = MOMENTS) -> Part:
    """`count` moments, whose kinds take turns."""
    outcome = Outcome()
    finished = yield from finish(ground, outcome)

    def one(name: str) -> tuple[Moment, list[str]]:
        moment = WAYS[name](ground, finished)
        return moment, _problems(ground, finished)

    yield from in_turns(list(WAYS), count, one, outcome)
    return outcome


def in_turns(
    names: Sequence[str], count: int, one: Callable[[str], tuple[Moment, list[str]]], outcome: Outcome
) -> Generator[str, None, None]:
    """Do `count` things whose `names` take turns by `one`, which also returns what is not as it must be after it."""
    kinds, hits = Counter[str](), 0
    for number in range(count):
        name = names[number % len(names)]
        moment, problems = one(name)
        kinds[name] += 1
        hits += moment.hit
        outcome.violations += [f"moment {number} ({name}: {moment.said}): {problem}" for problem in problems]
        yield f"moment {number}: {name}: {moment.said}{'' if not problems else ': ' + problems[0]}"
    outcome.figures |= {"moments": count, "at which something was at work": hits, **kinds}
    if hits < count / 2:
        outcome.violations.append(f"only at {hits} of {count} moments something was at work: that shows little")


def finish(ground: Ground, outcome: Outcome) -> Part:
    """A data set and a run of each kind, not killed."""
    data = ground.read()
    outcome.violations += filter(None, [ended(data)])
    run = ground.train(data, **FITTED)
    outcome.violations += filter(None, [ended(run)])
    known = {"reading": stages(data)}
    # With what the first run left in the cache: so it is when they are killed.
    for kind, options in (("fitted", FITTED), ("learnt", LEARNT)):
        job = ground.train(data, **options)
        outcome.violations += filter(None, [ended(job)])
        known[kind] = stages(job)
        job.delete()
    yield "a data set and a run are finished"
    return Finished(data, run, ground.predict(run), known)


def _problems(ground: Ground, finished: Finished) -> list[str]:
    """What is not as it must be after a moment."""
    problems = look.settled(ground.store)
    problems += look.documents(ground.workspace)
    problems += finished.told
    finished.told.clear()
    for job in (*ground.workspace.datasets(), *ground.workspace.runs()):
        problems += filter(None, [look.said_in_words(job)])
    if not finished.data.ready or finished.run.status().state != "succeeded":
        problems.append("what was finished is finished no more")
    elif ground.predict(finished.run) != finished.answers:
        problems.append("the finished classifier answers otherwise")
    return problems + next_run(ground, finished)


def next_run(ground: Ground, finished: Finished) -> list[str]:
    """What is wrong with another run, and with what is left once all but what was finished is deleted."""
    for job in (*ground.workspace.runs(), *ground.workspace.datasets()):
        if job not in (finished.data, finished.run):
            try:
                job.delete()
            except InUse as error:
                return [f"{job.what} {job.id} cannot be deleted: {error.message}"]
    sweep(Store(ground.store), 0)
    left = list(ground.workspace.path.rglob(".deleted-*"))
    problems = [f"half a deletion is left: {path.name}" for path in left]
    following = ground.train(finished.data, **FITTED)
    problems += filter(None, [ended(following)])
    if following.status().state != "succeeded":
        problems.append(f"the next run is {following.status().state}: {following.log(2_000)}")
    following.delete()
    return problems


def _kill_in(ground: Ground, finished: Finished, start: Callable[[], JobFolder], kind: str) -> Moment:
    """Start a job and kill its worker in one of its stages, at random, at a random moment of it; again where it was too quick."""
    said = ""
    for _ in range(_TRIES):
        since = time.time()
        job = start()
        title, seconds = ground.random.choice(finished.known[kind])
        wait = ground.random.random() * seconds
        while job.alive() and not begun(job, title, since):
            time.sleep(0.005)
        time.sleep(wait)
        worker = worker_of(job)
        if worker is None:
            said = f"{said}it had ended before {wait:.2f} s of {title!r}; "
            continue
        kill(worker)
        while job.alive():
            time.sleep(0.01)
        return Moment(f"{said}{wait:.2f} s into {title!r}, {job.status().state}", hit=True)
    return Moment(said, hit=False)


def begun(job: JobFolder, title: str, since: float = 0.0) -> bool:
    """Whether `job` has begun that stage; a data set to which pictures are added may have done so before `since`."""
    events, _ = job.events()
    return any(isinstance(event, StageStarted) and event.title == title and event.time >= since for event in events)


def _worker(kind: str) -> Way:
    """Kill the worker of a job of that kind."""
    return lambda ground, finished: _kill_in(ground, finished, lambda: STARTS[kind](ground, finished.data), kind)


def _adding(ground: Ground, finished: Finished) -> Moment:
    more = ground.root / "more"
    shutil.rmtree(more, ignore_errors=True)
    write_pictures(more, each=5, first=ground.random.randrange(2_000, 1_000_000))

    def start() -> JobFolder:
        return jobs.submit_ingest(
            ground.workspace, source_kind="folder", source=more, name=finished.data.name, onto=finished.data
        )

    return _kill_in(ground, finished, start, "reading")


def _starter(*, worker_first: bool) -> Way:
    """Kill the command that reads and trains, and first its worker or not: the worker must end by itself."""

    def do(ground: Ground, finished: Finished) -> Moment:
        whole = sum(seconds for kind in ("reading", "fitted") for _, seconds in finished.known[kind])
        starter = ground.command(
            "train", ground.pictures, "--workspace", look.TOKEN, "--image-size", str(look.SIZE), "--device", "cpu"
        )
        while starter.poll() is None and not look.descendants(starter.pid):
            time.sleep(0.01)
        wait = ground.random.random() * whole
        time.sleep(wait)
        workers = look.descendants(starter.pid)
        if worker_first:
            for worker in workers:
                kill(worker)
            time.sleep(ground.random.random() * 0.2)
        kill(starter.pid)
        starter.communicate()
        said = f"{wait:.2f} s after its first worker began, {len(workers)} processes below it"
        return Moment(said, hit=starter.returncode < 0)

    return do


def _app(*, worker_first: bool) -> Way:
    """Have a session of the served app train, and kill the app, with its worker first or not."""

    def do(ground: Ground, finished: Finished) -> Moment:
        with serving(ground) as app:
            said = asyncio.run(_train_and_kill(app, ground, finished, worker_first=worker_first))
            before, found, after = app.log.read_text().partition("Traceback")
            if found:
                finished.told.append(f"the app's log has a traceback: {before[-500:]}{found}{after[:3_000]}")
        return said

    return do


async def _train_and_kill(app: App, ground: Ground, finished: Finished, *, worker_first: bool) -> Moment:
    visit = Visit(app.address, look.TOKEN, frozenset(), b"", Seen(), ground.random)
    started, wait = False, ground.random.random() * 3 * sum(seconds for _, seconds in finished.known["fitted"])
    with suppress(ConnectionClosed):
        async with visit.opened():
            started = await visit.press(TRAIN, "Start")
            while not look.descendants(app.process.pid) and app.process.poll() is None:
                await asyncio.sleep(0.01)
            await asyncio.sleep(wait)
            finished.told += visit.seen.violations
            if worker_first:
                for worker in look.descendants(app.process.pid):
                    kill(worker)
                await asyncio.sleep(ground.random.random() * 2.0)
            kill(app.process.pid)
            app.process.wait()
    if not started:
        finished.told.append("the page Train had no button Start")
    return Moment(f"{wait:.2f} s after its first worker began", hit=app.process.returncode < 0)


def _predicting(ground: Ground, finished: Finished) -> Moment:
    process = ground.command("predict", finished.run.path, ground.root / "new", "--json")
    wait = ground.random.random() * 2.0
    time.sleep(wait)
    kill(process.pid)
    process.communicate()
    return Moment(f"after {wait:.2f} s", hit=process.returncode < 0)


def _deleting(ground: Ground, finished: Finished) -> Moment:
    """Kill a process that deletes a large data set."""
    doomed = ground.read(name="Doomed")
    finished.told += filter(None, [ended(doomed)])
    one = next((doomed.path / "images").iterdir())
    for number in range(_DELETED):
        os.link(one, doomed.path / "images" / f"more-{number}.jpg")
    script = (
        "import sys, tl_core.data.cache, tl_core.data.pixels; from pathlib import Path\n"
        "from tl_core.runs.store.folders import DatasetFolder\n"
        "print('now', flush=True); DatasetFolder(Path(sys.argv[1])).delete()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(doomed.path)], cwd=look.PROJECT, stdout=subprocess.PIPE
    )
    assert process.stdout
    process.stdout.readline()
    wait = ground.random.random() * 0.06
    time.sleep(wait)
    kill(process.pid)
    process.wait()
    return Moment(
        f"after {wait * 1000:.0f} ms, {'still there' if doomed.exists else 'gone'}", hit=process.returncode < 0
    )


WAYS: Mapping[str, Way] = {
    "worker, reading": _worker("reading"),
    "worker, fitting a head": _worker("fitted"),
    "worker, learning": _worker("learnt"),
    "worker, adding": _adding,
    "starter": _starter(worker_first=False),
    "worker, then starter": _starter(worker_first=True),
    "app": _app(worker_first=False),
    "worker, then app": _app(worker_first=True),
    "prediction": _predicting,
    "deletion": _deleting,
}
"""What is killed, by its name."""
