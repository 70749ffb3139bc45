"""Asks small questions as jobs. The same question has the same folder, so it is answered once.

The class of each kind in `documents.questions` says how its job is handled.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from tl_core import locks
from tl_core.disk import remove
from tl_core.documents.events import Event
from tl_core.documents.questions.about_backbones import DescribeSpec
from tl_core.documents.questions.kinds import QuestionSpec
from tl_core.documents.questions.question import Answer
from tl_core.documents.spec import IngestSpec
from tl_core.errors import GraftError, NotFound, SpecError, UnknownName
from tl_core.models.registry import Network, check_name, network
from tl_core.models.weights.obtain import identity
from tl_core.runs.process.executor import forget_lost, hand_over, known_device
from tl_core.runs.process.queue import require_room
from tl_core.runs.questions.about_run import require_ended
from tl_core.runs.start import jobs
from tl_core.runs.store.budgets import require_budget, require_free
from tl_core.runs.store.folders import DatasetFolder, QuestionFolder
from tl_core.runs.store.job_folder import JobFolder, keep_reserve
from tl_core.runs.store.new_folder import identifier, make, swept
from tl_core.runs.store.store import Workspace

Asked = TypeVar("Asked", bound=QuestionSpec)
Answered = TypeVar("Answered", bound=Answer)
_KEPT = frozenset({"lock", "submitted", "spec.json"})
"""Files of a question that stay when it is asked again."""


def ask(workspace: Workspace, spec: QuestionSpec) -> QuestionFolder:
    """The folder of the job that answers `spec`: the one that did or does so already, else a new one.

    A job that failed, was cancelled or was interrupted starts again, in the same folder. So does one whose answer would
    be another today: a ranking in which a backbone failed, or a described network whose row is gone.

    Raises:
        NotFound: there is no such data set or run in this workspace, no such image in the data set, or no result of the run.
        SpecError: the data set was not read to the end.
        UnknownName, DeviceError: the device is not on this machine.
        LimitReached: too many jobs wait or work here.
        OverBudget: the workspace is larger than it may be.
        DiskFull: the disk has no room for a job.
    """
    spec = spec.canonical(known_device)
    dataset = _dataset(workspace, spec)
    question = QuestionFolder(workspace.path / QuestionFolder.stored_in / identifier(_identity(spec)))
    forget_lost(question)
    if _at_work_or_answered(question, spec) and _used(question):
        return question
    workspace.make()
    store = swept(workspace)
    require_room(store.queue)
    require_free(store)
    require_budget(workspace)
    if dataset is not None:
        dataset.require_read()
    claim: int | None = None
    while claim is None:
        _, claim = make(question.path, spec)
        if claim is None:
            claim = _claimed_again(question, spec)
        if claim is None and _at_work_or_answered(question, spec):
            return question
    hand_over(question, claim, store=store.root)
    return question


def already_answered(workspace: Workspace, spec: QuestionSpec, document: type[Answered]) -> Answered | None:
    """The answer to `spec` where it was asked before and is still kept; None elsewhere. Starts nothing."""
    for question in workspace.questions():
        with suppress(GraftError):
            if question.spec() == spec and (found := question.answer(document)):
                return found
    return None


def ask_about(
    source: IngestSpec,
    question: Callable[[DatasetFolder], Asked],
    answer: type[Answered],
    place: Workspace,
    on_event: Callable[[Event], None] | None,
) -> tuple[Asked, Answered]:
    """Read the pictures of `source`, ask `question` about them, and leave nothing behind but what the cache keeps.

    Returns the question and its answer.

    Raises:
        GraftError: the pictures cannot be read, or the question cannot be answered.
    """
    dataset = jobs.submit_ingest(
        place, **source.model_dump(exclude={"job", "schema_version", "judged"}), judged=False, likely=None
    )
    made: list[JobFolder] = [dataset]
    try:
        jobs.finish(dataset, on_event)
        spec = question(dataset)
        asked = ask(place, spec)
        made.insert(0, asked)
        jobs.finish(asked, on_event)
        return spec, answer.read(asked.result_file)
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
    question = ask(place, DescribeSpec(network=name))
    try:
        jobs.finish(question, on_event)
    except UnknownName as error:
        raise UnknownName(f"{unknown.message} {error.message}") from None
    finally:
        # Its answer lies elsewhere.
        jobs.clear_away([question])
    return network(name)


def _identity(spec: QuestionSpec) -> str:
    """What makes two questions the same: the spec, and the weight files, which the operator may replace."""
    parts = [spec.model_dump_json()]
    for backbone, weights in spec.handling.pretrained:
        # What is wrong with the name or the operator's folder, the job says.
        with suppress(GraftError):
            parts.append(identity(network(backbone), weights))
    return "\n".join(parts)


def _at_work_or_answered(question: QuestionFolder, spec: QuestionSpec) -> bool:
    return question.exists and (question.alive() or _answered(question, spec))


def _used(question: QuestionFolder) -> bool:
    """Note that it was asked for; False where it was cleared away meanwhile."""
    try:
        os.utime(question.path)
    except FileNotFoundError:
        return False
    return True


def _answered(question: QuestionFolder, spec: QuestionSpec) -> bool:
    """Whether the answer is there, and would be the same today."""
    described, workspace = spec.handling.describes, Workspace(question.workspace_folder)
    if question.status().state != "succeeded" or (described and described not in workspace.backbones()):
        return False
    if spec.answer is None:
        return True
    with suppress(GraftError):
        return spec.answer.read(question.result_file).complete
    return False


def _claimed_again(question: QuestionFolder, spec: QuestionSpec) -> int | None:
    """Claim a question that ended without a valid answer, and empty its folder so that it can run again.

    Returns None where the question is at work or was answered.
    """
    try:
        claim = question.claim()
    except FileNotFoundError:
        # Somebody deleted it meanwhile.
        return None
    if claim is None:
        return None
    try:
        if not question.exists or _answered(question, spec):
            locks.release([claim])
            return None
        for path in question.path.iterdir():
            if path.name not in _KEPT:
                remove(path)
        keep_reserve(question.reserve)
    except BaseException:
        locks.release([claim])
        raise
    return claim


def _dataset(workspace: Workspace, spec: QuestionSpec) -> DatasetFolder | None:
    """The data set that `spec` is about; None where it needs none. Raises NotFound."""
    about = spec.handling.about
    if about is None:
        return None
    if about.workspace != workspace.token:
        raise NotFound("The data set of this question lies in another workspace.")
    dataset = workspace.dataset(about.dataset, about.version)
    if about.images and not all(0 <= index < len(dataset.manifest().images) for index in about.images):
        raise NotFound("There is no such picture in this data set.")
    if about.run:
        require_ended(workspace.run(about.run))
    return dataset
