"""Asks tasks as jobs. A task's folder is found by its content, so the same task is carried out once."""

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from tl_core.documents.events import Event
from tl_core.documents.spec import IngestSpec
from tl_core.documents.tasks import Answer, DescribeSpec, TaskSpec
from tl_core.errors import GraftError, InUse, NotFound, SpecError, UnknownName
from tl_core.models.registry import Network, check_name, network
from tl_core.models.weights.obtain import identity
from tl_core.runs.process.executor import forget_lost, known_device
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder, TaskFolder
from tl_core.runs.store.job_folder import JobFolder, identifier
from tl_core.runs.store.store import Workspace
from tl_core.runs.tasks.subject import require_ended

Asked = TypeVar("Asked", bound=TaskSpec)
Answered = TypeVar("Answered", bound=Answer)


def folder_of(workspace: Workspace, spec: TaskSpec) -> TaskFolder:
    """The folder of the task in `workspace`, whether it was asked or not.

    Raises:
        UnknownName, DeviceError: the device is not on this machine.
    """
    key = _key(spec.canonical(known_device))
    return TaskFolder(workspace.path / TaskFolder.stored_in / identifier(key))


def ask(workspace: Workspace, spec: TaskSpec) -> TaskFolder:
    """The folder of the job that carries out `spec`: the one that did or does so already, else a new one.

    A job that failed, was cancelled or was interrupted is made anew. So is one whose answer would be another today: a ranking in which a
    backbone failed, or a described network whose row is gone.

    Raises:
        NotFound: there is no such data set or run in this workspace, or no result of the run.
        SpecError: the data set was not read to the end.
        UnknownName, DeviceError: the device is not on this machine.
        LimitReached: too many jobs wait or work here.
        OverBudget: the workspace is larger than it may be.
        DiskFull: the disk has no room for a job.
    """
    spec = spec.canonical(known_device)
    task = folder_of(workspace, spec)
    dataset = _dataset(workspace, spec)
    forget_lost(task)
    while not _valid(task, spec):
        if dataset is not None:
            dataset.require_read()
        _, new = jobs.submit(workspace, TaskFolder, spec, key=_key(spec))
        if new:
            break
        with suppress(InUse), task.idle():
            # Looked at once more while nobody else can ask it.
            if task.exists and not _answered(task, spec):
                task.discard()
    return task


def already_answered(workspace: Workspace, spec: TaskSpec, document: type[Answered]) -> Answered | None:
    """The answer to `spec` where it was asked before and is still kept; None elsewhere. Starts nothing."""
    with suppress(GraftError):
        return folder_of(workspace, spec).answer(document)
    return None


def ask_about(
    source: IngestSpec,
    task: Callable[[DatasetFolder], Asked],
    answer: type[Answered],
    place: Workspace,
    on_event: Callable[[Event], None] | None,
) -> tuple[Asked, Answered]:
    """Read the pictures of `source`, ask `task` about them, and leave nothing of them behind.

    Returns the task and its answer.

    Raises:
        GraftError: the pictures cannot be read, or the task cannot be carried out.
    """
    dataset = jobs.read_pictures(place, source.model_copy(update={"judged": False}))
    made: list[JobFolder] = [dataset]
    try:
        jobs.wait(dataset, on_event)
        spec = task(dataset)
        folder = ask(place, spec)
        made.insert(0, folder)
        jobs.wait(folder, on_event)
        return spec, answer.read(folder.result_file)
    finally:
        jobs.clear_away(made)


def described(name: str, place: Workspace, on_event: Callable[[Event], None] | None) -> Network:
    """The backbone called `name`; one that the workspace `place` does not list is looked up in timm by a job in it.

    Raises:
        UnknownName: timm does not know it either.
        ModelError: timm knows it, but it cannot be a backbone.
    """
    try:
        return place.backbones().named(name)
    except UnknownName as error:
        unknown = error
    try:
        check_name(name)
    except SpecError:
        raise unknown from None
    task = ask(place, DescribeSpec(network=name))
    try:
        jobs.wait(task, on_event)
    except UnknownName as error:
        raise UnknownName(f"{unknown.message} {error.message}") from None
    finally:
        # Its answer lies elsewhere.
        jobs.clear_away([task])
    return network(name)


def _key(spec: TaskSpec) -> str:
    """What names the folder of `spec`, which is canonical: its content, and the weight files, which the operator may replace."""
    parts = [spec.model_dump_json()]
    for backbone, weights in spec.pretrained:
        # What is wrong with the name or the operator's folder, the job says.
        with suppress(GraftError):
            parts.append(identity(network(backbone), weights))
    return "\n".join(parts)


def _valid(task: TaskFolder, spec: TaskSpec) -> bool:
    """Whether it is at work, or its answer would be the same today; it is noted then that it was asked for."""
    # It may be cleared away meanwhile.
    with suppress(FileNotFoundError):
        if task.exists and (task.alive() or _answered(task, spec)):
            os.utime(task.path)
            return True
    return False


def _answered(task: TaskFolder, spec: TaskSpec) -> bool:
    """Whether the answer is there, and would be the same today."""
    if task.status().state != "succeeded":
        return False
    if isinstance(spec, DescribeSpec):
        return spec.network in Workspace(task.workspace_folder).backbones()
    with suppress(GraftError):
        return spec.answer is None or spec.answer.read(task.result_file).complete
    return False


def _dataset(workspace: Workspace, spec: TaskSpec) -> DatasetFolder | None:
    """The data set that `spec` is about; None where it needs none. Raises NotFound."""
    about = spec.about
    if about is None:
        return None
    if about.workspace != workspace.token:
        raise NotFound("The data set of this question lies in another workspace.")
    if about.run:
        require_ended(workspace.run(about.run))
    return workspace.dataset(about.dataset, about.version)
