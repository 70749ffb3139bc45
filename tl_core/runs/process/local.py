"""The local executor: each job is a process of this machine in a session of its own, which ends with the app that started it.

The process inherits the locks of its job, so the job is alive from the moment it is submitted until its process has ended.
The process reads the pipe on its stdin, whose other end the app holds: first a line that says which descriptors the locks are,
then nothing more; it ends when the pipe closes. The table `_workers` keeps each Popen object until its process has ended,
because deleting the object would close the pipe.

The path of a job holds the token of its workspace, and arguments and environments can be read by others on the machine. So
the job's folder is the process's working folder and stands in neither.
"""

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, NoReturn, cast

from tl_core import children
from tl_core.errors import GraftError
from tl_core.hardware import quota_threads
from tl_core.models.registry import network
from tl_core.models.weights.obtain import available
from tl_core.runs.process.run_job import Held, end_process_group
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store

LOCKS_ON_STDIN = "--locks-on-stdin"
"""The argument of a worker that inherits the locks of its job."""
GRACE = 1.2
"""Seconds that a job has to stop by itself once it was cancelled. Then its worker ends itself and, 0.3 seconds later, `cancel` ends that; the
executor's two seconds are made of both."""
_PATIENCE = 1.5
_THREADS = {"GOMP_SPINCOUNT": "2000"}
"""How long PyTorch's threads spin while they wait for each other, unless the operator says otherwise. By default it is so long
that a training beside another busy process takes ten times as long; this costs 5 % on an idle machine."""
_workers: dict[Path, subprocess.Popen[bytes]] = {}


class LocalProcesses:
    """Starts `module`, the worker, for each job at once; the workers wait for each other in the queue of their device."""

    here = True

    def __init__(self, module: str = "tl_core.runs.worker") -> None:
        self._module = module

    def submit(self, job: JobFolder, *, store: Path) -> None:
        held = Held.of(job)
        try:
            held = held.completed(job, Store(store))
            with job.log_file.open("ab") as log:
                worker = subprocess.Popen(
                    children.command(self._module, LOCKS_ON_STDIN),
                    stdin=subprocess.PIPE,
                    bufsize=0,
                    stdout=log,
                    stderr=log,
                    pass_fds=held.descriptors(),
                    start_new_session=True,
                    cwd=job.path,
                    env=_THREADS
                    | quota_threads()
                    | children.environment(hub_tokens=_downloads(job), GRAFT_STORE=str(store)),
                )
            # What a worker that is gone already was to do follows from its job's folder.
            with suppress(BrokenPipeError):
                cast(IO[bytes], worker.stdin).write(held.model_dump_json().encode() + b"\n")
        finally:
            held.release()
        _workers[job.path] = worker
        threading.Thread(target=_reap, args=(job, worker), daemon=True, name=f"worker {worker.pid}").start()

    def cancel(self, job: JobFolder) -> None:
        if _ended(job, GRACE + 0.3):
            return
        worker = _workers.get(job.path)
        if worker is not None:
            _kill_group(worker)
        _ended(job, 0.4)

    def alive(self, job: JobFolder) -> bool:
        return job.alive()

    def log(self, job: JobFolder, tail_bytes: int = 20_000) -> str:
        return job.log(tail_bytes)


def inherited() -> Held:
    """In the worker: the locks that `submit` passed on. From now on the process ends when its stdin closes."""
    with open(0, "rb", buffering=0, closefd=False) as stdin:
        line = stdin.readline()
    if not line:
        end_process_group()
    held = Held.model_validate_json(line)
    for descriptor in held.descriptors():
        os.set_inheritable(descriptor, False)
    threading.Thread(target=end_with_parent, daemon=True).start()
    return held


def end_with_parent() -> NoReturn:
    """Wait until the pipe on this process's stdin closes, whose other end its parent holds; then end it."""
    while os.read(0, 1024):
        continue
    end_process_group()


def _downloads(job: JobFolder) -> bool:
    """Whether `job` needs pretrained weights that are not on this machine; only then it gets the operator's key to the Hub."""
    # What is wrong with a name or with the operator's folder, the job says.
    with suppress(GraftError):
        return any(not available(network(backbone), weights) for backbone, weights in job.spec().pretrained)
    return False


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
    """Wait for the end of `worker`, end what it left running, clear away what it left half made, and log which signal ended it."""
    code = worker.wait()
    _kill_group(worker)
    if worker.stdin is not None:
        worker.stdin.close()
    if code < 0:
        with suppress(OSError), job.log_file.open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  The worker was ended by {_signal_words(-code)}.\n")
    if _workers.get(job.path) is worker:
        del _workers[job.path]
    # A process that it was starting, and that dies with it, may hold the lock a moment longer.
    if _ended(job, _PATIENCE):
        job.tidy()


def _signal_words(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
    causes = {
        "SIGKILL": "by hand, by Cancel, or because memory ran out",
        "SIGALRM": "its time was up, and a library did not let it end by itself",
        "SIGBUS": "usually a full disk",
        "SIGSEGV": "a fault in a library",
    }
    return f"{name} ({causes[name]})" if name in causes else name
