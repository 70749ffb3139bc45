"""A second executor, to prove the seam: folders of jobs are handed to a small server, which starts the workers.

`python -m tests.runs.served SPOOL` is the server. A file `ID.json` in the folder SPOOL is a job that waits, `ID.running` one
whose worker was started; nothing else is shared with the app. Two jobs have a worker at the same time.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tl_core import children

if TYPE_CHECKING:
    from tl_core.runs.store.job_folder import JobFolder

ROOT = Path(__file__).parents[2]


class Served:
    def __init__(self, module: str = "tl_core.runs.worker") -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="served-")
        self._module, self._spool = module, Path(self._folder.name)
        self._server = subprocess.Popen(
            [sys.executable, "-m", "tests.runs.served", self._spool], stdin=subprocess.PIPE, cwd=ROOT
        )

    def submit(self, job: JobFolder, *, store: Path) -> None:
        asked = {"job": str(job.path), "store": str(store), "module": self._module}
        (self._spool / "new").write_text(json.dumps(asked))
        (self._spool / "new").rename(self._entry(job, "json"))

    def cancel(self, job: JobFolder) -> None:
        self._entry(job, "json").unlink(missing_ok=True)
        deadline = time.monotonic() + 1.9
        while self._entry(job, "running").exists() and time.monotonic() < deadline:
            time.sleep(0.02)

    def alive(self, job: JobFolder) -> bool:
        return self._server.poll() is None and any(self._entry(job, state).exists() for state in ("json", "running"))

    def log(self, job: JobFolder, tail_bytes: int = 20_000) -> str:
        return job.log(tail_bytes)

    def process(self, job: JobFolder) -> int:
        return int(self._entry(job, "running").read_text())

    def _entry(self, job: JobFolder, state: str) -> Path:
        return self._spool / f"{job.id}.{state}"


def serve(spool: Path) -> None:
    """Start a worker for each job that waits, until the app is gone."""
    workers: dict[Path, subprocess.Popen[bytes]] = {}
    threading.Thread(target=_end_with_app, args=(workers,), daemon=True).start()
    while True:
        for entry, worker in list(workers.items()):
            if worker.poll() is not None:
                _kill(worker)
                entry.unlink()
                del workers[entry]
        for waiting in sorted(spool.glob("*.json"), key=lambda path: path.stat().st_mtime)[: 2 - len(workers)]:
            with suppress(FileNotFoundError):
                running = waiting.rename(waiting.with_suffix(".running"))
                asked = json.loads(running.read_text())
                with (Path(asked["job"]) / "log.txt").open("ab") as log:
                    workers[running] = subprocess.Popen(
                        children.command(asked["module"]),
                        cwd=asked["job"],
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                        env=children.environment(GRAFT_STORE=asked["store"]),
                    )
                running.write_text(str(workers[running].pid))
        time.sleep(0.02)


def _end_with_app(workers: dict[Path, subprocess.Popen[bytes]]) -> None:
    sys.stdin.read()
    for worker in list(workers.values()):
        _kill(worker)
    os._exit(0)


def _kill(worker: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
