"""What a corruption costs is measured against the same pictures as they are, and said only where chance does not explain it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from tl_core.documents.tasks import Effect
from tl_core.evaluation.corruption_effects import effects, hurt_most

IMAGES = 60
TRUTH = np.arange(IMAGES) % 3
ROWS = np.arange(IMAGES) + 100
ALONE = np.arange(IMAGES)


def _wrong(*where: int | range) -> NDArray[np.int64]:
    """Answers that are right but for those places."""
    said = TRUTH.copy()
    for place in where:
        some = np.atleast_1d(np.asarray(place))
        said[some] = (said[some] + 1) % 3
    return said


def _found(
    groups: NDArray[np.int64] = ALONE, **corrupted: Sequence[NDArray[np.int64]]
) -> tuple[tuple[Effect, ...], tuple[str, ...]]:
    clean = _wrong(0, 1, 2)
    found = effects(clean, corrupted, TRUTH, groups, ROWS)
    return found, hurt_most(found, corrupted, TRUTH, groups)


def test_accuracies_drops_and_an_example_of_each_corruption() -> None:
    (blur, jpeg), worst = _found(
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
    (grey,), worst = _found(grey=same)
    assert (grey.example, grey.said, grey.p_value) == (100, (1, 1, 1, 1), 1)
    assert worst == ()


def test_a_loss_that_chance_explains_among_so_many_corruptions_is_no_finding() -> None:
    # 6 of 6 changed answers are lost: 0.03 for one corruption, and more once four were tried.
    little = [_wrong(0, 1, 2), _wrong(0, 1, 2), _wrong(range(9))]
    (alone,), worst = _found(blur=little)
    assert alone.p_value == pytest.approx(2 * 0.5**6)
    assert worst == ("blur",)
    same = [_wrong(0, 1, 2)] * 3
    among, worst = _found(blur=little, noise=same, jpeg=same, grey=same)
    assert among[0].p_value == pytest.approx(4 * 2 * 0.5**6)
    assert worst == ()


def test_losses_of_pictures_that_show_the_same_thing_count_once() -> None:
    lost = [_wrong(0, 1, 2), _wrong(0, 1, 2), _wrong(range(30))]
    assert _found(blur=lost)[1] == ("blur",)
    of_four = np.minimum(np.arange(IMAGES) // 8, 5)
    (blur,), worst = _found(of_four, blur=lost)
    assert blur.p_value > 0.05
    assert worst == ()


def test_corruptions_that_cannot_be_told_apart_are_named_together_and_gains_are_never_named() -> None:
    same = _wrong(0, 1, 2)
    _, worst = _found(
        rotation=[same, same, _wrong(range(20))],
        blur=[same, same, _wrong(range(42))],
        noise=[same, same, _wrong(range(2, 42))],
        grey=[same, same, _wrong()],
    )
    assert worst == ("blur", "noise"), "20 fewer are surely less, 2 fewer may be chance"
    clean = _wrong(range(30))
    better = {"grey": [clean, clean, _wrong()]}
    found = effects(clean, better, TRUTH, ALONE, ROWS)
    assert found[0].p_value < 0.001
    assert hurt_most(found, better, TRUTH, ALONE) == ()
