"""Executors of the tests: one in this process, the local one with jobs of the tests' own, and one with a server of its own."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, TypeVar

import pytest

from tests.runs import scratch
from tests.runs.served import Served
from tl_core import locks
from tl_core.runs.process import local
from tl_core.runs.process.executor import Executor
from tl_core.runs.process.run_job import Held, JobFunction, run
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store
from tl_core.runs.worker import JOBS

Started = TypeVar("Started")


class InProcess(local.LocalProcesses):
    """`submit` returns when the job, a function of the test's own, has ended."""

    def __init__(self, functions: Mapping[str, JobFunction]) -> None:
        self._functions = functions

    def submit(self, job: JobFolder, *, store: Path) -> None:
        held = Held.of(job)
        try:
            run(job, held, self._functions.__getitem__, Store(store))
        finally:
            locks.release([held.lock])


def by(executor: Executor | None, start: Callable[..., Started], *arguments: object, **more: object) -> Started:
    """What `start` gives; the job that it starts is run by `executor`, or by that of GRAFT_EXECUTOR."""
    with pytest.MonkeyPatch.context() as patch:
        if executor is not None:
            patch.setattr("tl_core.runs.process.executor.chosen", lambda: executor)
        return start(*arguments, **more)


class Here(InProcess):
    """Every job as a worker does it, but in this process, which has imported torch already."""

    def __init__(self) -> None:
        super().__init__(JOBS)


HERE = f"{__name__}:Here"


class Local(local.LocalProcesses):
    """The local executor, which also tells the id of a job's process."""

    def process(self, job: JobFolder) -> int:
        return local._workers[job.path].pid


class LocalScratch(Local):
    """The local executor with the jobs of `scratch`."""

    def __init__(self) -> None:
        super().__init__(scratch.MODULE)


class ServedScratch(Served):
    """The served executor with the jobs of `scratch`."""

    def __init__(self) -> None:
        super().__init__(scratch.MODULE)


class Keeping(local.LocalProcesses):
    """Jobs run elsewhere, and wait for ever; a test loses them by clearing `kept`."""

    here = False
    kept: ClassVar[list[JobFolder]] = []

    def submit(self, job: JobFolder, *, store: Path) -> None:
        self.kept.append(job)

    def cancel(self, job: JobFolder) -> None:
        if job in self.kept:
            self.kept.remove(job)

    def alive(self, job: JobFolder) -> bool:
        return job in self.kept


KEEPING = f"{__name__}:Keeping"
