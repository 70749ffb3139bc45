"""The bundle of a run answers its test pictures once they are changed, as a job, and nothing outlives the run."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.runs.tasks.conftest import CarryOut
from tl_core.documents.events import Notice, Progress
from tl_core.documents.tasks import Effect, Robustness, RobustnessSpec
from tl_core.evaluation.corruptions import CORRUPTIONS, STRENGTHS
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store
from tl_core.runs.store.sweep import sweep
from tl_core.runs.tasks import robustness
from tl_core.runs.tasks.subject import task_about

IMAGES = 60
TRUTH = np.arange(IMAGES) % 3
ROWS = np.arange(IMAGES) + 100
ALONE = np.arange(IMAGES)


def test_it_is_answered_by_a_job_that_names_every_corruption_and_is_cleared_with_the_run(
    pets: DatasetFolder, pets_run: RunFolder, carry_out: CarryOut
) -> None:
    task = carry_out(task_about(pets_run, RobustnessSpec, corruptions=STRENGTHS))
    found, report = task.answer(Robustness), pets_run.report()
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
    assert (found.images, found.of_images) == (6, 9)
    assert [effect.corruption for effect in found.effects] == ["noise", "grey"]
    assert "6 of the 9 pictures" in next(event.message for event in events if isinstance(event, Notice))
    assert max(event.done for event in events if isinstance(event, Progress)) == 7 * 6
    assert carry_out(spec).answer(Robustness) == found, "nothing is left to chance"


def _wrong(*where: int | range) -> NDArray[np.int64]:
    """Answers that are right but for those places."""
    said = TRUTH.copy()
    for place in where:
        some = np.atleast_1d(np.asarray(place))
        said[some] = (said[some] + 1) % 3
    return said


def _measured(
    groups: NDArray[np.int64] = ALONE, clean: NDArray[np.int64] | None = None, **corrupted: Sequence[NDArray[np.int64]]
) -> tuple[tuple[Effect, ...], tuple[str, ...]]:
    """The effects, and the corruptions that hurt most; without `clean`, three answers are wrong without any corruption."""
    clean = _wrong(0, 1, 2) if clean is None else clean
    found = robustness.measured(clean, corrupted, TRUTH, groups, ROWS, of_images=IMAGES)
    return found.effects, found.hurt_most


def test_accuracies_drops_and_an_example_of_each_corruption() -> None:
    (blur, jpeg), worst = _measured(
        blur=[_wrong(0, 1), _wrong(0, 1, 2, 9), _wrong(range(30))],
        jpeg=[_wrong(0, 1, 2), _wrong(0, 1, 2), _wrong(0, 1, 2, 5)],
    )
    assert (blur.corruption, jpeg.corruption) == ("blur", "jpeg")
    assert [at.accuracy for at in blur.strengths] == pytest.approx([58 / 60, 56 / 60, 30 / 60])
    assert [at.drop for at in blur.strengths] == pytest.approx([-1 / 60, 1 / 60, 27 / 60])
    assert all(at.interval[0] < at.accuracy < at.interval[1] for at in blur.strengths)
    assert [at.strength for at in jpeg.strengths] == ["JPEG quality 40", "JPEG quality 20", "JPEG quality 8"]
    assert (blur.example, blur.said) == (109, (0, 0, 1, 1)), (
        "the first picture that turns wrong at the weakest strength that does so"
    )
    assert (jpeg.example, jpeg.said) == (105, (2, 2, 2, 0))
    # 27 pictures that turn wrong and none that turns right: twice one half to the power of 27, times two corruptions.
    assert blur.p_value == pytest.approx(2 * 2 * 0.5**27)
    assert jpeg.p_value == 1
    assert worst == ("blur",)


def test_where_no_answer_changes_the_first_picture_is_the_example() -> None:
    same = [_wrong(0, 1, 2)] * 3
    (grey,), worst = _measured(grey=same)
    assert (grey.example, grey.said, grey.p_value) == (100, (1, 1, 1, 1), 1)
    assert worst == ()


def test_a_loss_that_chance_explains_among_so_many_corruptions_is_no_finding() -> None:
    # 6 of 6 changed answers are lost: 0.03 for one corruption, and more once four were tried.
    little = [_wrong(0, 1, 2), _wrong(0, 1, 2), _wrong(range(9))]
    (alone,), worst = _measured(blur=little)
    assert alone.p_value == pytest.approx(2 * 0.5**6)
    assert worst == ("blur",)
    same = [_wrong(0, 1, 2)] * 3
    among, worst = _measured(blur=little, noise=same, jpeg=same, grey=same)
    assert among[0].p_value == pytest.approx(4 * 2 * 0.5**6)
    assert worst == ()


def test_losses_of_pictures_that_show_the_same_thing_count_once() -> None:
    lost = [_wrong(0, 1, 2), _wrong(0, 1, 2), _wrong(range(30))]
    assert _measured(blur=lost)[1] == ("blur",)
    of_four = np.minimum(np.arange(IMAGES) // 8, 5)
    (blur,), worst = _measured(of_four, blur=lost)
    assert blur.p_value > 0.05
    assert worst == ()


def test_corruptions_that_cannot_be_told_apart_are_named_together_and_gains_are_never_named() -> None:
    same = _wrong(0, 1, 2)
    _, worst = _measured(
        rotation=[same, same, _wrong(range(20))],
        blur=[same, same, _wrong(range(42))],
        noise=[same, same, _wrong(range(2, 42))],
        grey=[same, same, _wrong()],
    )
    assert worst == ("blur", "noise"), "20 fewer are surely less, 2 fewer may be chance"
    clean = _wrong(range(30))
    (grey,), worst = _measured(clean=clean, grey=[clean, clean, _wrong()])
    assert grey.p_value < 0.001
    assert worst == ()
