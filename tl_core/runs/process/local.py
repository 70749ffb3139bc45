"""The local executor: each job is a process of this machine in a session of its own, which ends with the app that started it.

The process inherits the locks of its job, so the job is alive from the moment it is submitted until its process has ended.
The process reads the pipe on its stdin, whose other end the app holds, and ends when the pipe closes. The table
`_workers` keeps each Popen object until its process has ended, because deleting the object would close the pipe.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from tl_core.runs.process.run_job import Held, end_process_group
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store

_PATIENCE = 1.5
_THREADS = {"GOMP_SPINCOUNT": "2000"}
"""How long PyTorch's threads spin while they wait for each other, unless the operator says otherwise. By default it is so long
that a training beside another busy process takes ten times as long; this costs 5 % on an idle machine."""
_SOURCE = Path(__file__).parents[3]
"""The folder that holds the package tl_core."""
_workers: dict[Path, subprocess.Popen[bytes]] = {}


class LocalProcesses:
    """Starts `module`, the worker, for each job at once; the workers wait for each other in the queue of their device."""

    here = True

    def __init__(self, module: str = "tl_core.runs.worker") -> None:
        self._module = module

    def submit(self, job: JobFolder, *, store: Path) -> None:
        paths = [str(_SOURCE), *filter(None, [os.environ.get("PYTHONPATH")])]
        held = Held.of(job)
        try:
            held = held.completed(job, Store(store))
            with job.log_file.open("ab") as log:
                worker = subprocess.Popen(
                    [sys.executable, "-m", self._module, str(job.path), held.model_dump_json()],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=held.descriptors(),
                    start_new_session=True,
                    # `-m` looks for modules in the working folder first, and the user's may hold anything.
                    cwd=_SOURCE,
                    env={**_THREADS, **os.environ, "GRAFT_STORE": str(store), "PYTHONPATH": os.pathsep.join(paths)},
                )
        finally:
            held.release()
        _workers[job.path] = worker
        threading.Thread(target=_reap, args=(job, worker), daemon=True, name=f"worker {worker.pid}").start()

    def cancel(self, job: JobFolder) -> None:
        if _ended(job, _PATIENCE):
            return
        worker = _workers.get(job.path)
        if worker is not None:
            _kill_group(worker)
        _ended(job, 0.4)

    def alive(self, job: JobFolder) -> bool:
        return job.alive()

    def log(self, job: JobFolder, tail_bytes: int = 20_000) -> str:
        return job.log(tail_bytes)


def inherited(text: str) -> Held:
    """In the worker: the locks that `submit` passed on, as JSON. From now on the process ends when its stdin closes."""
    held = Held.model_validate_json(text)
    for descriptor in held.descriptors():
        os.set_inheritable(descriptor, False)
    threading.Thread(target=_watch_app, daemon=True).start()
    return held


def _watch_app() -> None:
    while os.read(0, 1024):
        continue
    end_process_group()


def _ended(job: JobFolder, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while job.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.03)
    return True


def _kill_group(worker: subprocess.Popen[bytes]) -> None:
    # macOS answers PermissionError for a group of which only the dead are left.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(worker.pid, signal.SIGKILL)


def _reap(job: JobFolder, worker: subprocess.Popen[bytes]) -> None:
    """Wait for the end of `worker`, end what it left running, and write into the log which signal ended it."""
    code = worker.wait()
    _kill_group(worker)
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
