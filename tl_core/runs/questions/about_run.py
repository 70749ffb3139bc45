"""Questions about a finished run: how one is made, and how what it names is opened."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

from tl_core.documents.bundle_info import BundleInfo
from tl_core.documents.questions.question import RunQuestion
from tl_core.errors import NotFound
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store
from tl_core.serving.bundle_files import INFO

Asked = TypeVar("Asked", bound=RunQuestion)


class Subject(NamedTuple):
    """What a question about a run is about."""

    run: RunFolder
    """A run that ended well: it has a report and a bundle."""
    dataset: DatasetFolder
    """The data set that it learned from, in the version that it learned from."""


def question_about(run: RunFolder, kind: type[Asked], **more: Any) -> Asked:
    """The question of that kind about `run`; `more` are the fields that only this kind has.

    Raises:
        NotFound: the run has no bundle, or somebody has deleted it.
        DocumentError: its spec or its bundle.json is damaged.
    """
    require_ended(run)
    spec, made = run.spec(), BundleInfo.read(run.bundle / INFO).created
    return kind(workspace=spec.workspace, run=run.id, made=made, dataset=spec.dataset, version=spec.version, **more)


def subject(question: RunQuestion) -> Subject:
    """The run and the data set that `question` is about.

    Raises:
        NotFound: one of them was deleted, or the run did not end well; the message says which.
    """
    workspace = Store.default().workspace(question.workspace)
    found = Subject(workspace.run(question.run), workspace.dataset(question.dataset, question.version))
    require_ended(found.run)
    return found


def require_ended(run: RunFolder) -> None:
    """Raises NotFound, in words, where `run` has no report or no bundle."""
    if not (run.report_file.is_file() and (run.bundle / INFO).is_file()):
        raise NotFound(f"The run {run.name!r} has no result that could be looked at. Start it again, and let it end.")
