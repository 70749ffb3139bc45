"""Reliability diagrams, the expected calibration error, and answers that are withheld."""

import numpy as np
import pytest

from tl_core.documents.report import ImageAnswer
from tl_core.evaluation.calibration import BIN_IMAGES, MOST_BINS, reliability, top_label, withheld
from tl_core.evaluation.intervals import wilson_interval


def test_the_error_of_two_bins_is_their_weighted_distance() -> None:
    confidence = np.repeat([0.9, 0.6], BIN_IMAGES)
    right = np.concatenate([np.arange(BIN_IMAGES) < 14, np.arange(BIN_IMAGES) < 12])
    found = reliability(confidence, right)
    assert [(one.images, one.confidence, one.accuracy) for one in found.bins] == [
        (BIN_IMAGES, pytest.approx(0.6), 0.6),
        (BIN_IMAGES, pytest.approx(0.9), 0.7),
    ]
    assert found.bins[1].interval == wilson_interval(14, BIN_IMAGES)
    assert found.ece == pytest.approx((0.0 + 0.2) / 2)


def test_probabilities_that_hold_have_a_small_error_and_overconfident_ones_a_large_one() -> None:
    rng = np.random.default_rng(0)
    true = rng.uniform(0.5, 1.0, 4_000)
    right = rng.random(4_000) < true
    assert reliability(true, right).ece < 0.03
    assert reliability(true**0.25, right).ece > 0.1


def test_bins_have_equally_many_answers_however_sure_the_classifier_is() -> None:
    confidence = np.linspace(0.99, 1.0, 1_003)
    sizes = [one.images for one in reliability(confidence, np.ones(1_003, dtype=bool)).bins]
    assert len(sizes) == MOST_BINS
    assert max(sizes) - min(sizes) == 1


def test_few_answers_are_one_bin_and_none_are_no_bin() -> None:
    assert len(reliability(np.full(7, 0.8), np.ones(7, dtype=bool)).bins) == 1
    assert reliability(np.zeros(0), np.zeros(0, dtype=bool)).model_dump() == {"bins": (), "ece": 0.0}


def test_the_likeliest_class_is_judged() -> None:
    confidence, right = top_label(np.array([[0.2, 0.8], [0.7, 0.3]]), np.array([1, 1]))
    assert confidence.tolist() == [0.8, 0.7]
    assert right.tolist() == [True, False]


def test_withheld_answers_are_not_counted_as_wrong_and_where_nothing_is_answered_no_accuracy_is_claimed() -> None:
    answers = [
        ImageAnswer(row=row, truth=0, predicted=int(row not in (2, 4)), probability=sure, truth_probability=0.5)
        for row, sure in enumerate((0.5, 0.6, 0.9, 0.9, 0.95))
    ]
    left = withheld(answers, 0.9)
    assert (left.images, left.answered, left.right) == (5, 3, 2)
    assert (left.coverage, left.accuracy) == (0.6, 2 / 3)
    assert (left.coverage_interval, left.accuracy_interval) == (wilson_interval(3, 5), wilson_interval(2, 3))
    none = withheld(answers, 0.99)
    assert (none.answered, none.accuracy, none.accuracy_interval) == (0, None, (0.0, 1.0))
    assert withheld([], 0.5).coverage == 0.0
