"""The process of one job: `python -P -m tl_core.runs.worker`, started by an executor in the job's folder.

It takes the job's locks, waits for its turn on the device, runs the job's generator, writes down its events, and ends in a
state with a sentence, whatever happens. Nothing heavy is imported before its turn.
"""

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import NoReturn, get_args

from tl_core.documents.events import Event, StageStarted
from tl_core.documents.tasks import TaskSpec
from tl_core.runs.ingest_job import ingest_job
from tl_core.runs.process.local import GRACE, LOCKS_ON_STDIN, inherited
from tl_core.runs.process.run_job import Held, JobFunction, end_process_group, run
from tl_core.runs.race_job import race_job
from tl_core.runs.store.folders import TaskFolder, open_job
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store
from tl_core.runs.train_job import train_job


def task_job(task: TaskFolder) -> Generator[Event, None, None]:
    """Carry out `task`, and leave its answer in its folder. Raises what `answer` of its module raises."""
    spec = task.spec()
    yield StageStarted(stage="preparing", title=spec.title)
    # Imported by its name and only now: several need torch, which a job must not load before its turn on the device.
    answer = yield from import_module(f"tl_core.runs.tasks.{spec.job}").answer(task)
    if answer is not None:
        answer.write(task.result_file)


TASKS = [kind.model_fields["job"].default for kind in get_args(TaskSpec)]
"""`job` of the spec of every kind of task."""
JOBS: Mapping[str, JobFunction] = MappingProxyType(
    {"ingest": ingest_job, "train": train_job, "race": race_job, **dict.fromkeys(TASKS, task_job)}
)
"""By the kind of a job's spec: the generator that does the job and yields its events."""
NICENESS = 10
_POLL = 0.25


def _watch_cancel(job: JobFolder) -> None:
    """End a job that was cancelled and does not stop by itself."""
    while not job.cancel_file.exists():
        time.sleep(_POLL)
    time.sleep(GRACE)
    end_process_group()


def main(arguments: list[str], *, find: Callable[[str], JobFunction] = JOBS.__getitem__) -> NoReturn:
    """Be the worker of the job whose folder is the working folder. The local executor's only argument says that it passes on locks."""
    os.nice(NICENESS)
    faulthandler.enable()
    job = open_job(Path.cwd())
    held = inherited() if LOCKS_ON_STDIN in arguments else Held.of(job)
    threading.Thread(target=_watch_cancel, args=(job,), daemon=True).start()
    code = run(job, held, find, Store.default())
    sys.stdout.flush()
    sys.stderr.flush()
    # Threads and helper processes of libraries must not keep the device after the last event was written.
    os._exit(code)


if __name__ == "__main__":
    main(sys.argv[1:])
