"""The bundle of a run answers its test pictures once they are changed, as a job, and nothing outlives the run."""

from __future__ import annotations

import pytest

from tests.runs.tasks.conftest import CarryOut
from tl_core.documents.events import Notice, Progress
from tl_core.documents.tasks import Robustness, RobustnessSpec
from tl_core.evaluation.corruptions import CORRUPTIONS, STRENGTHS
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store
from tl_core.runs.store.sweep import sweep
from tl_core.runs.tasks import robustness
from tl_core.runs.tasks.subject import task_about


def test_it_is_answered_by_a_job_that_names_every_corruption_and_is_cleared_with_the_run(
    pets: DatasetFolder, pets_run: RunFolder, carry_out: CarryOut
) -> None:
    task = carry_out(task_about(pets_run, RobustnessSpec, corruptions=STRENGTHS))
    found, report = task.answer(Robustness), pets_run.report()
    assert found is not None
    assert (found.images, found.of_images) == (report.test.images, report.test.images)
    assert (found.clean.accuracy, found.clean.interval) == (report.test.accuracy, report.test.interval)
    assert [effect.corruption for effect in found.effects] == list(CORRUPTIONS)
    rows = {answer.row: answer.predicted for answer in report.answers}
    for effect in found.effects:
        assert effect.said[0] == rows[effect.example]
        assert [at.strength for at in effect.strengths] == [CORRUPTIONS[effect.corruption].said(at) for at in range(3)]
        assert all(at.drop == pytest.approx(found.clean.accuracy - at.accuracy) for at in effect.strengths)
    events, _ = task.events()
    done = [event for event in events if isinstance(event, Progress) and event.stage == "evaluation"]
    assert done[-1].done == done[-1].total == 25 * report.test.images
    sweep(Store.default(), 0)
    assert task.exists
    pets_run.delete()
    sweep(Store.default(), 0)
    assert not task.exists


def test_of_many_pictures_a_part_of_every_class_is_asked_about(
    pets: DatasetFolder, pets_run: RunFolder, monkeypatch: pytest.MonkeyPatch, carry_out: CarryOut
) -> None:
    monkeypatch.setattr(robustness, "MOST", 6)
    monkeypatch.setattr(robustness, "_PART", 4)
    spec = task_about(pets_run, RobustnessSpec, corruptions={name: STRENGTHS[name] for name in ("noise", "grey")})
    task = carry_out(spec)
    found, events = task.answer(Robustness), task.events()[0]
    assert found is not None
    assert (found.images, found.of_images) == (6, 9)
    assert [effect.corruption for effect in found.effects] == ["noise", "grey"]
    assert "6 of the 9 pictures" in next(event.message for event in events if isinstance(event, Notice))
    assert max(event.done for event in events if isinstance(event, Progress)) == 7 * 6
    assert carry_out(spec).answer(Robustness) == found, "nothing is left to chance"
