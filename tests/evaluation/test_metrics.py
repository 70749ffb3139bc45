"""Metrics on small cases that can be counted by hand."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_fscore_support

from tl_core.documents.report import SplitMetrics
from tl_core.evaluation.intervals import wilson_interval
from tl_core.evaluation.metrics import answers, leak, probabilities, split_metrics


def _certain(predicted: list[int], classes: int, share: float = 0.9) -> np.ndarray:
    probs = np.full((len(predicted), classes), (1 - share) / (classes - 1))
    probs[np.arange(len(predicted)), predicted] = share
    return probs


def test_probabilities_of_huge_logits_are_finite_and_sum_to_one() -> None:
    probs = probabilities(np.array([[1e4, 0.0, -1e4], [3.0, 3.0, 3.0]], dtype=np.float32))
    assert probs[0].tolist() == [1.0, 0.0, 0.0]
    assert probs[1] == pytest.approx([1 / 3] * 3)


def test_probabilities_refuse_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="finite"):
        probabilities(np.array([[np.nan, 0.0]]))


def test_counts_precision_recall_and_confusion() -> None:
    truth = np.array([0, 0, 0, 1, 1, 2])
    metrics = split_metrics(_certain([0, 0, 1, 1, 1, 0], 3), truth, ["ant", "bee", "fly"])
    assert metrics.accuracy == pytest.approx(4 / 6)
    assert metrics.confusion == ((2, 1, 0), (0, 2, 0), (1, 0, 0))
    ant, bee, fly = metrics.per_class
    assert (ant.precision, ant.recall, ant.support) == (pytest.approx(2 / 3), pytest.approx(2 / 3), 3)
    assert (bee.precision, bee.recall, bee.f1) == (pytest.approx(2 / 3), 1.0, pytest.approx(0.8))
    assert (fly.precision, fly.recall, fly.support) == (0.0, 0.0, 1)
    assert metrics.macro_f1 == pytest.approx((2 / 3 + 0.8 + 0) / 3)
    assert metrics.log_loss == pytest.approx(-(4 * np.log(0.9) + 2 * np.log(0.05)) / 6)


def test_a_class_that_is_nowhere_does_not_lower_macro_f1() -> None:
    metrics = split_metrics(_certain([0, 1], 3), np.array([0, 1]), ["ant", "bee", "fly"])
    assert metrics.macro_f1 == 1.0
    assert metrics.per_class[2].support == 0


def test_wilson_interval_as_published() -> None:
    # Newcombe 1998, table I: 81 of 263, and the edge case 0 of 20.
    assert wilson_interval(81, 263) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert wilson_interval(0, 20) == (pytest.approx(0.0), pytest.approx(0.1611, abs=1e-4))


def test_the_wilson_interval_is_scipys() -> None:
    for images in (1, 7, 90, 1000):
        for correct in {0, 1, images // 3, images - 1, images}:
            wanted = binomtest(correct, images).proportion_ci(method="wilson")
            assert wilson_interval(correct, images) == pytest.approx((wanted.low, wanted.high), abs=1e-12)


def test_more_images_make_the_interval_narrower() -> None:
    few, many = wilson_interval(8, 10), wilson_interval(800, 1000)
    assert many[1] - many[0] < few[1] - few[0]


def test_no_images_is_no_division_by_zero() -> None:
    metrics = split_metrics(np.zeros((0, 2)), np.zeros(0, dtype=np.int64), ["ant", "bee"])
    assert (metrics.images, metrics.accuracy, metrics.interval) == (0, 0.0, (0.0, 1.0))
    assert SplitMetrics.model_validate_json(metrics.model_dump_json()) == metrics


def test_answers_keep_the_manifests_rows() -> None:
    said = answers(_certain([1, 0], 2, 0.75), np.array([0, 0]), np.array([17, 4]))
    assert [(one.row, one.truth, one.predicted) for one in said] == [(17, 0, 1), (4, 0, 0)]
    assert (said[0].probability, said[0].truth_probability) == (0.75, 0.25)


@pytest.mark.parametrize("seed", range(4))
def test_each_class_has_what_scikit_learn_gives(seed: int) -> None:
    generator = np.random.default_rng(seed)
    classes = int(generator.integers(2, 8))
    truth, predicted = (generator.integers(0, classes - seed % 2, 60) for _ in range(2))
    names = [str(number) for number in range(classes)]
    metrics = split_metrics(_certain(predicted.tolist(), classes), truth, names)
    theirs = precision_recall_fscore_support(truth, predicted, labels=range(classes), zero_division=0.0)
    ours = [(row.precision, row.recall, row.f1, row.support) for row in metrics.per_class]
    assert np.allclose(np.array(ours).T, np.array(theirs))


def test_a_leak_is_counted_and_the_rest_judged_alone() -> None:
    right, leaked = np.array([True, True, False, True, False]), np.array([True, True, False, False, False])
    found = leak(right, leaked, np.arange(5))
    assert found is not None
    assert found.without is not None
    assert (found.images, found.without.images, found.without.accuracy) == (2, 3, pytest.approx(1 / 3))
    assert found.without.interval == wilson_interval(1, 3)
    assert leak(right, np.zeros(5, dtype=bool), np.arange(5)) is None
    all_of_it = leak(right, np.ones(5, dtype=bool), np.arange(5))
    assert all_of_it is not None
    assert (all_of_it.images, all_of_it.without) == (5, None)
