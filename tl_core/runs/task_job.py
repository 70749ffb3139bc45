"""The job that carries out a task of any kind."""

from collections.abc import Generator
from importlib import import_module
from typing import get_args

from tl_core.documents.events import Event, StageStarted
from tl_core.documents.tasks import TaskSpec
from tl_core.runs.store.folders import TaskFolder


def task_job(task: TaskFolder) -> Generator[Event, None, None]:
    """Carry out `task`, and leave its answer in its folder. Raises what `answer` of its module raises."""
    spec = task.spec()
    yield StageStarted(stage="preparing", title=spec.title)
    # Imported by its name and only now: several need torch, which a job must not load before its turn on the device.
    answer = yield from import_module(f"tl_core.runs.tasks.{spec.job}").answer(task)
    if answer is not None:
        answer.write(task.result_file)


TASK_JOBS = dict.fromkeys((kind.model_fields["job"].default for kind in get_args(TaskSpec)), task_job)
"""By `job` of the spec of every kind of task."""
