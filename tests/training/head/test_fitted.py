"""The fitted head: learns, is chosen by pictures that it has not seen, and is the same every time."""

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.training.twin import finish
from tl_core.documents.events import Event, RegularisationTried
from tl_core.evaluation.metrics import probabilities
from tl_core.training.head.fitted import PATH, TEST, CrossValidated, Head, fit_cross_validated, fit_logistic

DIGITS, ALL_LABELS = load_digits(return_X_y=True)
DIGITS = DIGITS.astype(np.float32)
FEATURES, LABELS = DIGITS[:360].copy(), ALL_LABELS[:360]
FEATURES += np.random.default_rng(0).normal(0, 12, FEATURES.shape).astype(np.float32)
FOLDS = np.arange(360) // 10 % 6 - 1
"""Five folds and the test, as large as each other."""


def _alone(features: np.ndarray, labels: np.ndarray, classes: int) -> tuple[Head, list[Event]]:
    """The head that learns from a third of the rows, while the next third chooses."""
    train, val, _ = (np.flatnonzero(np.arange(len(labels)) % 3 == part) for part in range(3))
    return finish(fit_logistic(features, labels, train, val, classes=classes))


def _cross(
    features: np.ndarray = FEATURES, labels: np.ndarray = LABELS, folds: np.ndarray = FOLDS, **asked: bool
) -> tuple[CrossValidated, list[Event]]:
    return finish(fit_cross_validated(features, labels, folds, classes=10, **asked))


def _right(logits: np.ndarray, labels: np.ndarray) -> float:
    return float((logits.argmax(axis=1) == labels).mean())


def test_reads_digits_it_has_not_seen() -> None:
    head, events = _alone(DIGITS, ALL_LABELS, 10)
    assert _right(head.logits(DIGITS[2::3]), ALL_LABELS[2::3]) > 0.94
    assert head.weight.dtype == head.bias.dtype == np.float32
    assert head.weight.shape == (10, 64)
    assert [event.c for event in events] == list(PATH[: len(events)])


def test_the_best_of_the_curve_is_taken_and_its_figures_are_those_of_the_answers() -> None:
    found, events = _cross()
    learned = FOLDS != TEST
    head, curve = _alone(FEATURES, LABELS, 10)
    judged: list[tuple[list[Event], Any, Any]] = [
        (events, found.logits, LABELS[learned]),
        (curve, head.logits(FEATURES[1::3]), LABELS[1::3]),
    ]
    for tried, logits, labels in judged:
        points = [event for event in tried if isinstance(event, RegularisationTried)]
        best = min(points, key=lambda point: point.val_loss)
        assert [point for point in points if point.best][-1] is best
        assert best.val_accuracy == _right(logits, labels)
        of_truth = probabilities(logits)[np.arange(len(labels)), labels]
        assert -np.log(of_truth).mean() == pytest.approx(best.val_loss, rel=1e-3)
        assert [point.c for point in points] == list(PATH[: len(points)])
        assert len(points) < len(PATH), "the path ends when the loss stops improving"
    assert found.c == min(events, key=lambda point: point.val_loss).c  # type: ignore[union-attr]
    assert _right(found.logits, LABELS[learned]) < _right(found.head.logits(FEATURES[learned]), LABELS[learned])


def test_two_classes_have_two_rows_that_mirror_each_other() -> None:
    rows = ALL_LABELS < 2
    head, _ = _alone(DIGITS[rows] * 1e-3 + 5, ALL_LABELS[rows], 2)
    assert head.weight[0] == pytest.approx(-head.weight[1])
    assert _right(head.logits(DIGITS[rows] * 1e-3 + 5), ALL_LABELS[rows]) > 0.98


def test_an_image_is_answered_by_a_head_that_has_not_seen_it() -> None:
    """Where labels are noise, whoever has seen them knows them; whoever has not is right by chance."""
    rng = np.random.default_rng(0)
    features, labels = rng.normal(0, 1, (360, 500)).astype(np.float32), rng.integers(0, 10, 360)
    found, _ = _cross(features, labels, nested=True, pairs=True)
    learned = FOLDS != TEST
    assert found.nested is not None
    assert _right(found.logits, labels[learned]) < 0.2
    assert _right(found.nested, labels) < 0.2
    assert _right(found.head.logits(features[learned]), labels[learned]) > 0.5


def test_neither_the_head_nor_its_choice_knows_the_test() -> None:
    found, events = _cross(nested=True)
    other, _ = _cross(labels=np.where(FOLDS == TEST, (LABELS + 1) % 10, LABELS), nested=True)
    inside = FOLDS != TEST
    plain, plain_events = _cross(FEATURES[inside], LABELS[inside], FOLDS[inside])
    assert np.array_equal(found.head.weight, other.head.weight)
    assert np.array_equal(found.logits, other.logits)
    assert found.c == plain.c
    assert found.logits == pytest.approx(plain.logits, abs=0.1)
    assert len(plain_events) == len(events), "the path ends where the head's own curve does"


def test_nested_cross_validation_answers_every_image_once_and_the_test_with_the_head_itself() -> None:
    found, _events = _cross(nested=True, pairs=True)
    assert found.nested is not None
    assert found.nested.shape == (360, 10)
    assert np.isfinite(found.nested).all()
    test = FOLDS == TEST
    logits = found.head.logits(FEATURES[test])
    ratio = found.nested[test] / logits
    assert ratio == pytest.approx(np.full_like(ratio, ratio[0, 0]), rel=0.02), "divided by one temperature"
    assert abs(_right(found.nested, LABELS) - _right(found.logits, LABELS[~test])) < 0.05
    again, _ = _cross(nested=True, pairs=True)
    assert np.array_equal(found.nested, again.nested)
    assert np.array_equal(found.head.weight, again.head.weight)


def test_a_class_with_two_images_beside_the_test_is_judged_without_heads_that_would_lack_it() -> None:
    labels = np.where(LABELS == 9, 8, LABELS)
    labels[[0, 10, 20]] = 9
    folds = np.where(FOLDS == TEST, TEST, FOLDS % 2)
    assert folds[[0, 10, 20]].tolist() == [TEST, 0, 1]
    found, _ = _cross(labels=labels, folds=folds, nested=True, pairs=True)
    assert found.nested is not None
    assert np.isfinite(found.nested).all()


def test_learning_from_the_validation_part_too_reads_more() -> None:
    rng = np.random.default_rng(1)
    gains = []
    for _ in range(6):
        order = rng.permutation(360)
        rows, test = order[:100], order[100:]
        old, _ = finish(fit_logistic(FEATURES, LABELS, order[:80], order[80:100], classes=10))
        folds = np.empty(100, dtype=int)
        folds[np.argsort(LABELS[rows], kind="stable")] = np.arange(100) % 5
        new, _ = _cross(FEATURES[rows], LABELS[rows], folds)
        gains.append(
            _right(new.head.logits(FEATURES[test]), LABELS[test]) - _right(old.logits(FEATURES[test]), LABELS[test])
        )
    assert np.mean(gains) > 0


def test_constant_features_give_a_head_and_no_nan() -> None:
    features, labels = np.ones((60, 8), dtype=np.float32), np.arange(60) % 3
    found, _ = finish(fit_cross_validated(features, labels, np.arange(60) // 3 % 5, classes=3, balanced=True))
    head, _ = _alone(features, np.arange(60) // 3 % 3, 3)
    for values in (found.head.weight, found.logits, head.weight, head.bias):
        assert np.isfinite(values).all()


def test_what_cannot_be_fitted_is_refused_and_validation_may_lack_a_class() -> None:
    with pytest.raises(ValueError, match="9 of 10 classes"):
        _cross(labels=np.where(FOLDS == 2, 0, np.maximum(1, LABELS)))
    with pytest.raises(ValueError, match="1 of them different"):
        _cross(folds=np.minimum(FOLDS, 0))
    with pytest.raises(ValueError, match="test images"):
        _cross(folds=np.abs(FOLDS), nested=True)
    rows = np.arange(360)
    with pytest.raises(ValueError, match="9 of 10 classes"):
        next(fit_logistic(FEATURES, LABELS, rows[LABELS > 0], rows, classes=10))
    with pytest.raises(ValueError, match="validation rows"):
        next(fit_logistic(FEATURES, LABELS, rows, rows[:0], classes=10))
    head, _ = finish(fit_logistic(FEATURES, LABELS, rows[60:], rows[:60][LABELS[:60] < 2], classes=10))
    assert head.weight.shape == (10, 64)
