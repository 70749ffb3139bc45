"""A question about a run names its bundle and its data set, and says in words which of them is gone."""

from __future__ import annotations

from typing import Literal

import pytest

from tl_core.disk import remove
from tl_core.documents.bundle_info import BundleInfo
from tl_core.documents.questions.question import Handling, RunQuestion
from tl_core.errors import NotFound
from tl_core.runs.questions.about_run import question_about, subject
from tl_core.runs.questions.ask import ask
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Workspace
from tl_core.serving.bundle_files import INFO


class Sized(RunQuestion):
    """How large is the picture `row`?"""

    job: Literal["sized"] = "sized"
    row: int = 0

    @property
    def handling(self) -> Handling:
        return Handling("Looking at a picture", about=self.about(self.row))


def test_it_opens_the_run_and_the_version_that_the_run_learned_from(
    workspace: Workspace, pets: DatasetFolder, pets_run: RunFolder
) -> None:
    question = question_about(pets_run, Sized, row=3)
    about = question.handling.about
    assert about is not None
    assert (about.workspace, about.dataset, about.version, about.images) == (workspace.token, pets.id, 1, (3,))
    found = subject(question)
    assert found.run.path == pets_run.path
    assert found.dataset == pets.at(1)


def test_another_bundle_of_the_run_is_another_question(pets_run: RunFolder) -> None:
    before = question_about(pets_run, Sized)
    assert question_about(pets_run, Sized) == before
    file = pets_run.bundle / INFO
    info = BundleInfo.read(file)
    info.model_copy(update={"created": info.created + 1}).write(file)
    assert question_about(pets_run, Sized) != before


def test_what_is_gone_is_said_in_words(workspace: Workspace, pets: DatasetFolder, pets_run: RunFolder) -> None:
    question = question_about(pets_run, Sized)
    with pytest.raises(NotFound, match="no such picture"):
        ask(workspace, question.model_copy(update={"row": 60}))  # type: ignore[arg-type]
    remove(pets_run.report_file)
    for refused in (
        lambda: question_about(pets_run, Sized),
        lambda: subject(question),
        lambda: ask(workspace, question),  # type: ignore[arg-type]
    ):
        with pytest.raises(NotFound, match="no result that could be looked at"):
            refused()
    pets_run.delete()
    with pytest.raises(NotFound, match=r"no such run in this workspace\. It may have been deleted"):
        subject(question)
    with pytest.raises(NotFound, match="no such run in this workspace"):
        ask(workspace, question)  # type: ignore[arg-type]
    pets.delete()
    with pytest.raises(NotFound, match=r"no such data set in this workspace\. It may have been deleted"):
        ask(workspace, question)  # type: ignore[arg-type]
