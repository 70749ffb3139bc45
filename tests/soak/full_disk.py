"""The disk runs full at seeded moments: while a job is made, in each of its stages, and while a picture is uploaded.

The store lies on a small file system in memory, in a mount namespace of a process of its own. What runs must end in words, what was
finished must stay whole, and the next run must work once there is space again.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from tests.conftest import picture
from tests.soak import ground as look
from tests.soak.ground import Ground, Outcome, Part, carried_out, ended
from tests.soak.kills import STARTS, Finished, Moment, begun, finish, in_turns, next_run
from tl_core.errors import DiskFull, GraftError
from ui.data_page.uploads import Draft

Way = Callable[[Ground, Finished, int], Moment]
MOMENTS = 30
_MEGABYTES = 600
"""Size of the file system."""
_LEFT = (0, 4_096, 70_000, 1_000_000)
"""Bytes that are left free when the disk runs full."""


def why_not() -> str | None:
    """Why there can be no mount namespace here; None where there can."""
    if not shutil.which("unshare"):
        return "there is no unshare"
    tried = subprocess.run(["unshare", "-Urm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, text=True)
    return tried.stderr.strip() or "it was refused" if tried.returncode else None


def run(ground: Ground, count: int = MOMENTS) -> Part:
    """`count` moments, in a process of its own that sees the file system."""
    refused = why_not()
    if refused:
        yield f"skipped: no mount namespace here: {refused}"
        return Outcome({"skipped": refused})
    shutil.rmtree(ground.store, ignore_errors=True)
    ground.store.mkdir()
    mount = f'mount -t tmpfs -o size={_MEGABYTES}m tmpfs "$0" && exec "$@"'
    inside = [sys.executable, "-m", "tests.soak.full_disk", str(ground.root), str(ground.seed), str(count)]
    process = subprocess.Popen(
        ["unshare", "-Urm", "sh", "-c", mount, str(ground.store), *inside],
        cwd=look.PROJECT,
        stdout=subprocess.PIPE,
        env={**os.environ, "GRAFT_FREE_GB": "0"},
        text=True,
    )
    last = ""
    for line in process.stdout or ():
        if last:
            yield last
        last = line.rstrip("\n")
    if process.wait() != 0:
        return Outcome(violations=[f"the process inside the namespace ended with {process.returncode}: {last}"])
    return Outcome(**json.loads(last))


def _inside(ground: Ground, count: int) -> Part:
    outcome = Outcome()
    finished = yield from finish(ground, outcome)

    def one(name: str) -> tuple[Moment, list[str]]:
        left = ground.random.choice(_LEFT)
        problems, moment = [], Moment("", hit=True)
        try:
            moment = WAYS[name](ground, finished, left)
        except GraftError as error:
            moment = Moment(f"refused: {error.message}", hit=True)
            if not isinstance(error, DiskFull):
                problems.append(moment.said)
        except Exception as error:
            problems.append(f"{type(error).__name__}: {error}")
        _empty(ground)
        return moment._replace(said=f"{left} bytes left: {moment.said}"), problems + _problems(ground, finished)

    yield from in_turns(list(WAYS), count, one, outcome)
    return outcome


def _problems(ground: Ground, finished: Finished) -> list[str]:
    problems = look.settled(ground.store) + look.documents(ground.workspace)
    for job in (*ground.workspace.datasets(), *ground.workspace.runs()):
        problems += filter(None, [look.said_in_words(job)])
        failure = job.status().failure
        if failure and failure.kind != "disk_full":
            problems.append(f"{job.what} {job.id} says {failure.kind}: {failure.message}")
    if ground.predict(finished.run) != finished.answers:
        problems.append("the finished classifier answers otherwise")
    return problems + next_run(ground, finished)


def _fill(ground: Ground, left: int) -> None:
    """Leave `left` bytes of the file system free."""
    with (ground.store / "ballast").open("ab") as file:
        found = os.statvfs(ground.store)
        size = max(0, found.f_bavail * found.f_frsize - left)
        with suppress(OSError):
            os.posix_fallocate(file.fileno(), file.tell(), size)


def _empty(ground: Ground) -> None:
    (ground.store / "ballast").unlink(missing_ok=True)


def _in_a_stage(kind: str) -> Way:
    """Fill the disk in one of the stages of a job of that kind."""

    def do(ground: Ground, finished: Finished, left: int) -> Moment:
        job = STARTS[kind](ground, finished.data)
        title, seconds = ground.random.choice(finished.known[kind])
        wait = ground.random.random() * seconds
        while job.alive() and not begun(job, title):
            time.sleep(0.005)
        time.sleep(wait)
        _fill(ground, left)
        hit = job.alive()
        problem = ended(job)
        if problem:
            raise AssertionError(problem)
        return Moment(f"{wait:.2f} s into {title!r}, {job.status().state}", hit)

    return do


def _starting(ground: Ground, finished: Finished, left: int) -> Moment:
    _fill(ground, left)
    job = STARTS["reading" if ground.random.random() < 0.5 else "fitted"](ground, finished.data)
    problem = ended(job)
    if problem:
        raise AssertionError(problem)
    return Moment(f"a job was made, {job.status().state}", hit=True)


class _Upload(io.BytesIO):
    """A picture in the form in which Streamlit hands it over."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name, self.size = name, len(content)


def _uploading(ground: Ground, finished: Finished, left: int) -> Moment:
    del finished
    content = io.BytesIO()
    picture(0, 1, (1600, 1200)).save(content, "JPEG", quality=98)
    draft = Draft(ground.workspace.staging())
    try:
        _fill(ground, left)
        draft.add([_Upload(content.getvalue(), f"{number}.jpg") for number in range(3)])
        return Moment(f"{len(draft.waiting())} pictures were kept", hit=True)
    finally:
        shutil.rmtree(draft.folder, ignore_errors=True)


def _renaming(ground: Ground, finished: Finished, left: int) -> Moment:
    _fill(ground, left)
    before = finished.data.name
    try:
        finished.data.rename(f"Crockery {ground.random.randrange(1000)}")
    except DiskFull:
        if finished.data.name != before:
            raise AssertionError("the old name is gone") from None
        raise
    return Moment("renamed", hit=True)


WAYS: Mapping[str, Way] = {
    "reading": _in_a_stage("reading"),
    "fitting a head": _in_a_stage("fitted"),
    "learning": _in_a_stage("learnt"),
    "starting a job": _starting,
    "uploading": _uploading,
    "renaming": _renaming,
}


def _main(root: str, seed: str, count: str) -> None:
    ground = Ground(Path(root), int(seed))
    outcome = carried_out(_inside(ground, int(count)), lambda said: print(said, flush=True))
    print(json.dumps({"figures": outcome.figures, "violations": outcome.violations}))


if __name__ == "__main__":
    _main(*sys.argv[1:])
