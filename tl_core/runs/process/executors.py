"""Starts workers, keeps their handles, buries them, cancels them. Knows nothing of what jobs do.

A handle that is dropped closes the pipe on its worker's stdin, which tells the worker that the app is gone; so handles
live in a table of this module for as long as their workers do.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import tl_core
from tl_core.runs.process.run_job import Held, JobFunction, run
from tl_core.runs.store import locks
from tl_core.runs.store.job_folder import JobFolder

_PATIENCE = 1.5
_LAST_WAIT = 0.4
_THREADS = {"GOMP_SPINCOUNT": "2000"}
"""How long PyTorch's threads spin while they wait for each other, unless the operator says otherwise. By default it is so long
that a training beside another busy process takes ten times as long; this costs 5 % on an idle machine."""
_workers: dict[Path, subprocess.Popen[bytes]] = {}


class Executor(Protocol):
    def start(self, job: JobFolder, held: Held, *, store: Path) -> None:
        """Run `job`, whose locks are `held`, which pass to the executor."""


class Processes:
    """Every job in a process and a session of its own, which runs `module`: the worker, or a test's with jobs of its own."""

    def __init__(self, module: str = "tl_core.runs.worker") -> None:
        self._module = module

    def start(self, job: JobFolder, held: Held, *, store: Path) -> None:
        package = Path(tl_core.__file__).parents[1]
        paths = [str(package), *filter(None, [os.environ.get("PYTHONPATH")])]
        descriptors = held.descriptors()
        try:
            with job.log_file.open("ab") as log:
                worker = subprocess.Popen(
                    [sys.executable, "-m", self._module, str(job.path), held.model_dump_json()],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=descriptors,
                    start_new_session=True,
                    # `-m` looks for modules in the working folder first, and the user's may hold anything.
                    cwd=package,
                    env={**_THREADS, **os.environ, "GRAFT_STORE": str(store), "PYTHONPATH": os.pathsep.join(paths)},
                )
        finally:
            locks.release(descriptors)
        _workers[job.path] = worker
        threading.Thread(target=_bury, args=(job, worker), daemon=True, name=f"worker {worker.pid}").start()


class InProcess:
    """The twin for tests: `start` returns when the job, a function of the test's own, has ended."""

    def __init__(self, functions: Mapping[str, JobFunction]) -> None:
        self._functions = functions

    def start(self, job: JobFolder, held: Held, *, store: Path) -> None:
        try:
            run(job, held, self._functions.__getitem__)
        finally:
            locks.release([held.lock, *([] if held.dataset is None else [held.dataset])])


def cancel(job: JobFolder) -> None:
    """Ask `job` to stop, and end it if it does not; returns within 2 seconds."""
    if not job.alive():
        return
    job.cancel_file.touch()
    if _ended(job, _PATIENCE):
        return
    worker = _workers.get(job.path)
    if worker is not None:
        _end_group(worker)
    _ended(job, _LAST_WAIT)


def _ended(job: JobFolder, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while job.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.03)
    return True


def _end_group(worker: subprocess.Popen[bytes]) -> None:
    # macOS answers PermissionError for a group of which only the dead are left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)


def _bury(job: JobFolder, worker: subprocess.Popen[bytes]) -> None:
    """Wait for the end of `worker`, end what it left running, note in the log what ended it."""
    code = worker.wait()
    _end_group(worker)
    if worker.stdin is not None:
        worker.stdin.close()
    if code < 0:
        with suppress(OSError), job.log_file.open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  The worker was ended by {_signal_words(-code)}.\n")
    if _workers.get(job.path) is worker:
        del _workers[job.path]


def _signal_words(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    causes = {
        "SIGKILL": "by hand, by Cancel, or because memory ran out",
        "SIGBUS": "usually a full disk",
        "SIGSEGV": "a fault in a library",
    }
    return f"{name} ({causes[name]})" if name in causes else name
