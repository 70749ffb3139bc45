"""Intervals: copies do not make them narrower, and the true value lies in them as often as they say."""

import numpy as np
import pytest

from tl_core.evaluation.intervals import accuracy_interval, macro_f1_interval, wilson_interval
from tl_core.evaluation.metrics import split_metrics


def test_images_that_stand_alone_have_wilsons_interval() -> None:
    right = np.arange(50) < 40
    assert accuracy_interval(right) == accuracy_interval(right, np.arange(50)) == wilson_interval(40, 50)


def test_ten_copies_of_each_image_say_no_more_than_the_images() -> None:
    right = np.arange(60) < 45
    low, high = accuracy_interval(np.repeat(right, 10), np.repeat(np.arange(60), 10))
    one = wilson_interval(45, 60)
    assert high - low == pytest.approx(one[1] - one[0], rel=0.1)
    many = wilson_interval(450, 600)
    assert high - low > 2.5 * (many[1] - many[0])


def test_groups_that_are_all_right_count_as_so_many_images() -> None:
    groups = np.repeat(np.arange(8), 5)
    assert accuracy_interval(np.ones(40, dtype=bool), groups) == wilson_interval(8, 8)
    assert accuracy_interval(np.zeros(40, dtype=bool), groups) == wilson_interval(0, 8)


def test_groups_that_are_all_equally_right_do_not_make_a_range_of_one_point() -> None:
    alone, alike = np.zeros(3, dtype=int), np.repeat(np.arange(4), 2)
    assert accuracy_interval(np.array([True, False, False]), alone) == wilson_interval(1 / 3, 1)
    assert accuracy_interval(np.tile([True, False], 4), alike) == wilson_interval(2, 4)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_true_share_lies_in_the_interval_about_as_often_as_it_says(grouped: bool) -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(100):
        shares = rng.beta(4, 1, 40) if grouped else np.full(40, 0.8)
        right = rng.random(160) < np.repeat(shares, 4)
        low, high = accuracy_interval(right, np.repeat(np.arange(40), 4))
        inside += low <= 0.8 <= high
    assert inside >= 88


def test_the_interval_of_macro_f1_holds_it_and_widens_with_groups() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 90)
    predicted = np.where(rng.random(90) < 0.7, truth, rng.integers(0, 3, 90))
    found = split_metrics(np.eye(3)[predicted], truth, ("a", "b", "c"))
    low, high = macro_f1_interval(predicted, truth, 3)
    assert found.macro_f1_interval == (low, high)
    assert low < (found.value("macro_f1") or 0) < high
    copies = macro_f1_interval(np.repeat(predicted, 5), np.repeat(truth, 5), 3, np.repeat(np.arange(90), 5))
    assert copies[1] - copies[0] == pytest.approx(high - low, rel=0.15)


def test_answers_of_cross_validation_say_less_than_as_many_independent_ones() -> None:
    right = np.arange(110) < 88
    assert accuracy_interval(right, folds=6) == pytest.approx(wilson_interval(48, 60))
    pairs = np.repeat(np.arange(55), 2)
    low, high = accuracy_interval(right, pairs)
    wide = accuracy_interval(right, pairs, folds=6)
    factor = (11 / 6) ** 0.5
    assert wide == pytest.approx((0.8 - factor * (0.8 - low), 0.8 + factor * (high - 0.8)))
    assert accuracy_interval(np.ones(110, dtype=bool), pairs, folds=6) == pytest.approx(wilson_interval(30, 30))
    truth = np.arange(110) % 2
    narrow, wider = (macro_f1_interval(np.where(right, truth, 1 - truth), truth, 2, folds=folds) for folds in (None, 6))
    assert wider[0] < narrow[0] < narrow[1] < wider[1]


@pytest.mark.parametrize("folds", [2, 6])
def test_the_interval_of_folds_that_err_together_holds_the_true_share_about_as_often_as_it_says(folds: int) -> None:
    """The share of each fold varies as that of independent answers does, and the shares of two folds have a correlation of 1 / K."""
    rng, each = np.random.default_rng(0), 240 // folds
    inside = 0
    for _ in range(400):
        common, own = rng.normal(size=1), rng.normal(size=folds)
        shares = 0.8 + (0.8 * 0.2 / each) ** 0.5 * ((1 / folds) ** 0.5 * common + (1 - 1 / folds) ** 0.5 * own)
        right = np.concatenate([np.arange(each) < round(share * each) for share in shares])
        low, high = accuracy_interval(right, folds=folds)
        inside += low <= 0.8 <= high
    assert 368 <= inside <= 392


def test_no_images_say_nothing() -> None:
    nothing = np.zeros(0, dtype=int)
    assert accuracy_interval(nothing.astype(bool)) == macro_f1_interval(nothing, nothing, 2) == (0.0, 1.0)
