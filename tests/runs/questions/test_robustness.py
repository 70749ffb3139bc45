"""The bundle of a run answers its test pictures once they are changed, as a job, and nothing outlives the run."""

from __future__ import annotations

import pytest

from tests.runs.conftest import ended
from tests.training.helpers import finish
from tl_core.documents.events import Notice, Progress
from tl_core.documents.questions.finished_runs import Robustness, RobustnessSpec
from tl_core.errors import NotFound
from tl_core.evaluation.corruptions import CORRUPTIONS, STRENGTHS
from tl_core.runs.questions import robustness
from tl_core.runs.questions.about_run import question_about
from tl_core.runs.questions.ask import ask
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store, Workspace
from tl_core.runs.store.sweep import sweep


def test_it_is_answered_by_a_job_that_names_every_corruption_and_is_cleared_with_the_run(
    workspace: Workspace, pets: DatasetFolder, pets_run: RunFolder
) -> None:
    question = ask(workspace, question_about(pets_run, RobustnessSpec, corruptions=STRENGTHS))
    assert ended(question) == "succeeded"
    found, report = question.answer(Robustness), pets_run.report()
    assert found is not None
    assert (found.images, found.of_images) == (report.test.images, report.test.images)
    assert (found.clean.accuracy, found.clean.interval) == (report.test.accuracy, report.test.interval)
    assert [effect.corruption for effect in found.effects] == list(CORRUPTIONS)
    rows = {answer.row: answer.predicted for answer in report.answers}
    for effect in found.effects:
        assert effect.said[0] == rows[effect.example]
        assert [at.strength for at in effect.strengths] == [CORRUPTIONS[effect.corruption].said(at) for at in range(3)]
        assert all(at.drop == pytest.approx(found.clean.accuracy - at.accuracy) for at in effect.strengths)
    events, _ = question.events()
    done = [event for event in events if isinstance(event, Progress) and event.stage == "evaluation"]
    assert done[-1].done == done[-1].total == 25 * report.test.images
    sweep(Store.default(), 0)
    assert question.exists
    pets_run.delete()
    sweep(Store.default(), 0)
    assert not question.exists


def test_of_many_pictures_a_part_of_every_class_is_asked_about(
    pets: DatasetFolder, pets_run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(robustness, "MOST", 6)
    monkeypatch.setattr(robustness, "_PART", 4)
    spec = question_about(pets_run, RobustnessSpec, corruptions={name: STRENGTHS[name] for name in ("noise", "grey")})
    found, events = finish(robustness.robustness_of_run(spec, Store.default().cache))
    assert (found.images, found.of_images) == (6, 9)
    assert [effect.corruption for effect in found.effects] == ["noise", "grey"]
    assert "6 of the 9 pictures" in next(event.message for event in events if isinstance(event, Notice))
    assert max(event.done for event in events if isinstance(event, Progress)) == 7 * 6
    assert finish(robustness.robustness_of_run(spec, Store.default().cache))[0] == found, "nothing is left to chance"


def test_a_run_that_was_deleted_meanwhile_is_said_in_words(pets: DatasetFolder, pets_run: RunFolder) -> None:
    spec = question_about(pets_run, RobustnessSpec, corruptions={"blur": STRENGTHS["blur"]})
    pets_run.delete()
    with pytest.raises(NotFound, match="no such run in this workspace"):
        finish(robustness.robustness_of_run(spec, Store.default().cache))
