"""Where jobs run: what an executor does, which ones there are, and which one is used (the setting GRAFT_EXECUTOR)."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, runtime_checkable

from tl_core import settings
from tl_core.errors import SpecError, UnknownName
from tl_core.runs.process.local import LocalProcesses
from tl_core.runs.store import locks
from tl_core.runs.store.job_folder import JobFolder


@runtime_checkable
class Executor(Protocol):
    """Runs each job as `python -m tl_core.runs.worker FOLDER`, with GRAFT_STORE set, on a machine that sees the store.

    The worker itself takes the locks of its job, waits for its turn on the device, and writes what becomes of the job into
    the folder. While it works, the folder's lock is held; before that, the executor knows about the job.
    """

    def submit(self, job: JobFolder, *, store: Path) -> None:
        """Accept `job`, whose store is `store`, to be run once. Raises GraftError or OSError where that cannot be done."""

    def cancel(self, job: JobFolder) -> None:
        """Stop `job` within 2 seconds. Its worker, if it has one, was asked to stop by the file `cancel` in the folder."""

    def alive(self, job: JobFolder) -> bool:
        """Whether `job` waits or runs."""

    def log(self, job: JobFolder, tail_bytes: int = 20_000) -> str:
        """The end of what was logged about `job`."""


EXECUTORS: Mapping[str, Callable[[], Executor]] = MappingProxyType({"local": LocalProcesses})
"""By the name that GRAFT_EXECUTOR gives. A new one is a class in a module beside `local`, and a row here."""


def chosen() -> Executor:
    """The executor that GRAFT_EXECUTOR names.

    Raises:
        UnknownName: it is neither in the table nor of the form MODULE:CLASS.
        SpecError: there is no such class, or it is no executor.
    """
    return _named(settings.executor())


@cache
def _named(name: str) -> Executor:
    if name in EXECUTORS:
        return EXECUTORS[name]()
    module, colon, attribute = name.partition(":")
    if not colon:
        raise UnknownName.among("executor", name, (*EXECUTORS, "MODULE:CLASS"))
    try:
        made = getattr(import_module(module), attribute)()
    except (ImportError, AttributeError, TypeError) as error:
        raise SpecError(f"GRAFT_EXECUTOR is {name!r}, which cannot be used: {error}.") from error
    if not isinstance(made, Executor):
        raise SpecError(f"GRAFT_EXECUTOR is {name!r}, which is no executor: it needs submit, cancel, alive and log.")
    return made


def hand_over(job: JobFolder, claim: int, executor: Executor, *, store: Path) -> None:
    """Submit `job` and release `claim`, the right to submit it (`JobFolder.claim`). A job that is not accepted is interrupted."""
    try:
        executor.submit(job, store=store)
        # A file `submitted` that is not empty marks the job as waiting. A worker that has taken the job removed the file, and
        # then this has no effect.
        os.write(claim, b"accepted")
    finally:
        locks.release([claim])


def cancel(job: JobFolder, executor: Executor | None = None) -> None:
    """Stop `job` within 2 seconds, if it waits or runs; it ends as cancelled."""
    if job.alive():
        job.cancel_file.touch()
        (executor or chosen()).cancel(job)
        job.submitted.unlink(missing_ok=True)
