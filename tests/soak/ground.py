"""What the parts of the campaign share: a store of its own with a trained classifier, a look at processes, and what must hold."""

from __future__ import annotations

import json
import math
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from tests.conftest import picture
from tl_core import load, locks
from tl_core.documents.events import StageStarted
from tl_core.errors import GraftError
from tl_core.runs.process import local
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store, Workspace

PROJECT = Path(__file__).parents[2]
TOKEN = "50a4" * 8
SIZE = 96
"""Pixels; few, so that a moment of the campaign costs seconds."""
PATIENCE = 600.0
"""Seconds after which something counts as hanging."""
CLASSES = ("cup", "plate", "bowl")
Answers = list[dict[str, Any]]


@dataclass
class Outcome:
    """What a part measured, and what it found that must not be."""

    figures: dict[str, Any] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)


Part = Generator[str, None, Outcome]
"""Yields a line for each thing that it did."""


def carried_out(part: Part, say: Callable[[str], None]) -> Outcome:
    """What comes of `part`, each line of which is said."""
    while True:
        try:
            say(next(part))
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]


@dataclass
class Ground:
    """A folder in which the campaign is at work. Everything that Graft writes must stay below it."""

    root: Path
    seed: int
    minutes: float | None = None
    """How long a part lasts that goes by time; None for its whole time."""

    @cached_property
    def random(self) -> random.Random:
        return random.Random(self.seed)

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def workspace(self) -> Workspace:
        return Store(self.store).workspace(TOKEN)

    @property
    def pictures(self) -> Path:
        return self.root / "pictures"

    @property
    def new(self) -> list[Path]:
        """Pictures that no classifier has learned from."""
        return sorted((self.root / "new").iterdir())

    def prepare(self) -> None:
        """Make the folders and the pictures, and use them in this process and all that it starts from now on."""
        for name in ("home", "tmp", "new"):
            (self.root / name).mkdir(parents=True)
        os.environ |= {
            "GRAFT_STORE": str(self.store),
            "HOME": str(self.root / "home"),
            "TMPDIR": str(self.root / "tmp"),
        }
        write_pictures(self.pictures, each=20)
        for label in range(len(CLASSES)):
            picture(label, 900).save(self.root / "new" / f"{label}.jpg", quality=92)

    def train(self, dataset: DatasetFolder, **options: Any) -> RunFolder:
        options = {"image_size": SIZE, "device": "cpu", "seed": 3, **options}
        return jobs.submit_training(self.workspace, dataset, **options)

    def read(self, source: Path | None = None, name: str = "Crockery") -> DatasetFolder:
        return jobs.submit_ingest(self.workspace, source_kind="folder", source=source or self.pictures, name=name)

    def predict(self, run: RunFolder) -> Answers:
        return load(run.path).predict(self.new)

    def command(self, *arguments: str | Path) -> subprocess.Popen[bytes]:
        """`python -m tl_core ...`, in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "tl_core", *map(str, arguments)],
            cwd=PROJECT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )


def write_pictures(folder: Path, *, each: int, first: int = 0) -> None:
    """`each` healthy pictures of every class, numbered from `first`."""
    for label, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(first, first + each):
            picture(label, number).save(folder / name / f"{number:04}.jpg", quality=92)


def ended(job: JobFolder) -> str | None:
    """Wait for the end of `job`. What is wrong with how it ended; None where it succeeded or says in words why not."""
    deadline = time.monotonic() + PATIENCE
    for _ in jobs.follow(job):
        if time.monotonic() > deadline:
            return f"{job.what} {job.id} did not end within {PATIENCE:.0f} seconds"
    return said_in_words(job)


def said_in_words(job: JobFolder) -> str | None:
    """What is wrong with the end of `job`; None where it succeeded, or says in words why not."""
    status = job.status()
    if not status.final:
        return f"{job.what} {job.id} is {status.state} and nobody works on it"
    if "Traceback" in job.log(1_000_000) or (status.failure and status.failure.kind == "bug"):
        return f"{job.what} {job.id}: {status.failure and status.failure.message}\n{job.log(1_500)}"
    return None


def worker_of(job: JobFolder) -> int | None:
    """The process of `job`, if this process started it and it has not ended."""
    worker = local._workers.get(job.path)
    return worker.pid if worker else None


def kill(process: int) -> None:
    """End `process` as the kernel does when memory runs out."""
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def stages(job: JobFolder) -> list[tuple[str, float]]:
    """The titles of the stages of a job that has ended, in their order, and how long each took, seconds."""
    events, _ = job.events()
    starts = [(event.title, event.time) for event in events if isinstance(event, StageStarted)]
    ends = [*(start for _, start in starts[1:]), events[-1].time]
    return [(title, end - start) for (title, start), end in zip(starts, ends, strict=True)]


# What must hold


def left_running(store: Path) -> list[int]:
    """Processes that work on `store`, but for this one."""
    return [
        process.pid
        for process in psutil.process_iter(["environ", "status"])
        if process.pid != os.getpid()
        and process.info["status"] != psutil.STATUS_ZOMBIE
        and (process.info["environ"] or {}).get("GRAFT_STORE") == str(store)
    ]


def left_locked(store: Path) -> list[Path]:
    """Lock files of `store` that somebody holds."""
    names = ("lock*", "*.lock", "submitted", "in_use", "budget", "swept", "queue/*", "queue/*/*")
    found = {path for name in names for path in store.rglob(name) if path.is_file()}
    return sorted(path for path in found if _held(path))


def _held(path: Path) -> bool:
    descriptor = locks.take(path, patience=0.0)
    if descriptor is None:
        return True
    locks.release([descriptor])
    return False


def settled(store: Path, *, patience: float = 60.0) -> list[str]:
    """What is still at work in `store` although it should have ended: processes and locks."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        processes, locked = left_running(store), left_locked(store)
        if not processes and not locked:
            return []
        time.sleep(0.05)
    said = [f"process {process} is left: {command(process)}" for process in left_running(store)]
    return said + [f"a lock is left: {path.relative_to(store)}" for path in left_locked(store)]


def documents(workspace: Workspace) -> list[str]:
    """Documents of `workspace` that cannot be read, and jobs that say they succeeded and lack what they made."""
    problems = []
    for job in (*workspace.datasets(), *workspace.runs(), *workspace.tasks()):
        try:
            job.spec()
            job.events()
            if job.status().state == "succeeded":
                problems += _whole(job)
        except GraftError as error:
            problems.append(f"{job.what} {job.id}: {error.message}")
    return problems


def _whole(job: JobFolder) -> list[str]:
    if isinstance(job, RunFolder):
        job.report()
        load(job.path)
    if not isinstance(job, DatasetFolder):
        return []
    return [
        f"data set {job.id}: the copy of {image.name} is damaged"
        for image in job.manifest().images
        if not job.image(image).is_file() or zlib.crc32(job.image(image).read_bytes()) != image.crc32
    ]


# Processes


MOST_MB: Mapping[str, float] = {"decoder": 300, "worker": 300, "predict": 700}
"""Resident memory that a process which reads hostile files may have, by what it does, megabytes."""


class Watch(threading.Thread):
    """Looks at all descendants of this process, twenty times a second, as long as it is entered."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._done = threading.Event()
        self.most_mb: dict[str, float] = {}
        """Largest resident memory of one process, by what it does, megabytes."""
        self._limited: set[str] = set()
        """What the processes do that had a limit on the memory that they map."""

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self.join()

    def problems(self) -> list[str]:
        """What of the processes was not as it must be."""
        return [f"no {what} had a limit on its memory" for what in ("decoder",) if what not in self._limited] + [
            f"a {what} had {most:.0f} MB of memory, more than {MOST_MB[what]:.0f}"
            for what, most in self.most_mb.items()
            if most > MOST_MB.get(what, math.inf)
        ]

    def run(self) -> None:
        while not self._done.wait(0.05):
            for process in descendants(os.getpid()):
                with suppress(OSError, ValueError, IndexError):
                    self._look(process)

    def _look(self, process: int) -> None:
        what = kind(command(process))
        self.most_mb[what] = max(self.most_mb.get(what, 0.0), round(resident(process), 1))
        if resource.prlimit(process, resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY:
            self._limited.add(what)


def resident(process: int) -> float:
    """Resident memory of `process`, megabytes; 0 if it has ended."""
    with suppress(psutil.Error):
        return psutil.Process(process).memory_info().rss / 1_000_000
    return 0.0


def kind(command: str) -> str:
    """What the process with this command does."""
    return next(
        (kind for kind in ("decoder", "worker", "predict", "train") if f" {kind}" in command.replace(".", " ")), "other"
    )


def command(process: int) -> str:
    """The first 300 characters of the command of `process`."""
    with suppress(psutil.Error):
        return " ".join(psutil.Process(process).cmdline())[:300]
    return "(it has ended)"


def descendants(process: int) -> list[int]:
    with suppress(psutil.Error):
        return [child.pid for child in psutil.Process(process).children(recursive=True)]
    return []


def answer(process: subprocess.Popen[bytes]) -> tuple[int, Any, str]:
    """Exit code, the JSON document on standard output (None where there is none) and standard error of a command."""
    out, err = process.communicate(timeout=PATIENCE)
    try:
        document = json.loads(out)
    except ValueError:
        document = None
    return process.returncode, document, err.decode(errors="replace")
