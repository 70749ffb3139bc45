"""The process of one job: `python -m tl_core.runs.worker JOB_DIR HELD`, started by `executors`.

It waits for its turn, runs the job's generator, writes down its events, and ends in a state with a sentence, whatever
happens. Nothing heavy is imported before its turn. Knows nothing of what jobs do: `pipeline` has them in a table.
"""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from tl_core.runs.pipeline import JOBS
from tl_core.runs.process.run_job import Held, JobFunction, run
from tl_core.runs.store.folders import open_job
from tl_core.runs.store.job_folder import JobFolder

NICENESS = 10
GRACE = 1.2
"""Seconds that a job has to stop by itself once it was cancelled."""
_POLL = 0.1


def _end_group() -> None:
    """End this process and all that it started, at once; the folder tells the rest."""
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


def _watch_app() -> None:
    """The other end of stdin is the app: it closes when the app ends, however that came."""
    while os.read(0, 1024):
        continue
    _end_group()


def _watch_cancel(job: JobFolder) -> None:
    """End a job that does not stop by itself; the app does the same, but only for the workers that it started."""
    while not job.cancel_file.exists():
        time.sleep(_POLL)
    time.sleep(GRACE)
    _end_group()


def main(arguments: list[str], *, find: Callable[[str], JobFunction] = JOBS.__getitem__) -> NoReturn:
    """Be the worker of one job: `arguments` are its folder and its locks (`Held` as JSON)."""
    os.nice(NICENESS)
    faulthandler.enable()
    job = open_job(Path(arguments[0]))
    held = Held.model_validate_json(arguments[1])
    for descriptor in held.descriptors():
        os.set_inheritable(descriptor, False)
    threading.Thread(target=_watch_app, daemon=True).start()
    threading.Thread(target=_watch_cancel, args=(job,), daemon=True).start()
    code = run(job, held, find)
    sys.stdout.flush()
    sys.stderr.flush()
    # Libraries' threads and helpers must not keep the locks, or the device, after the last word was written.
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
