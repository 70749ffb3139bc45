"""The head that cross-validation chooses: it learns from all it may see, and what it says of itself comes from pictures it has not seen."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from threadpoolctl import threadpool_limits

from tests.training.helpers import finish
from tl_core.documents.events import RegularisationTried
from tl_core.evaluation.metrics import probabilities
from tl_core.training.head import cross_validated
from tl_core.training.head.cross_validated import TEST, CrossValidated, fit_cross_validated
from tl_core.training.head.fitted import PATH, fit_logistic

FEATURES, LABELS = load_digits(return_X_y=True)
FEATURES, LABELS = FEATURES[:360].astype(np.float32), LABELS[:360]
FEATURES += np.random.default_rng(0).normal(0, 12, FEATURES.shape).astype(np.float32)
FOLDS = np.arange(360) // 10 % 6 - 1
"""Five folds and the test, as large as each other."""


def _fit(features: np.ndarray = FEATURES, labels: np.ndarray = LABELS, folds: np.ndarray = FOLDS, **asked: bool):  # type: ignore[no-untyped-def]
    return finish(fit_cross_validated(features, labels, folds, classes=10, **asked))


def _right(logits: np.ndarray, labels: np.ndarray) -> float:
    return float((logits.argmax(axis=1) == labels).mean())


def test_the_best_of_the_curve_is_taken_and_its_figures_are_those_of_the_answers() -> None:
    found, events = _fit()
    points = [event for event in events if isinstance(event, RegularisationTried)]
    best = min(points, key=lambda point: point.val_loss)
    learned = FOLDS != TEST
    assert (found.head.c, found.head.val_loss, found.head.val_accuracy) == (best.c, best.val_loss, best.val_accuracy)
    assert [point for point in points if point.best][-1] is best
    assert found.head.val_accuracy == _right(found.logits, LABELS[learned])
    said = probabilities(found.logits)[np.arange(300), LABELS[learned]]
    assert -np.log(said).mean() == pytest.approx(found.head.val_loss, rel=1e-4)
    assert found.head.val_accuracy < _right(found.head.logits(FEATURES[learned]), LABELS[learned])
    assert [point.c for point in points] == list(PATH[: len(points)])
    assert len(points) < len(PATH), "the path ends when validation stops improving"


def test_an_image_is_answered_by_a_head_that_has_not_seen_it() -> None:
    """Where labels are noise, whoever has seen them knows them; whoever has not is right by chance."""
    rng = np.random.default_rng(0)
    features, labels = rng.normal(0, 1, (360, 500)).astype(np.float32), rng.integers(0, 10, 360)
    found, _ = _fit(features, labels, nested=True, pairs=True)
    learned = FOLDS != TEST
    assert found.nested is not None
    assert _right(found.logits, labels[learned]) < 0.2
    assert _right(found.nested, labels) < 0.2
    assert _right(found.head.logits(features[learned]), labels[learned]) > 0.5


def test_neither_the_head_nor_its_choice_knows_the_test() -> None:
    found, events = _fit(nested=True)
    other_labels = np.where(FOLDS == TEST, (LABELS + 1) % 10, LABELS)
    other, _ = _fit(labels=other_labels, nested=True)
    plain, plain_events = _fit(FEATURES[FOLDS != TEST], LABELS[FOLDS != TEST], FOLDS[FOLDS != TEST])
    assert np.array_equal(found.head.weight, other.head.weight)
    assert np.array_equal(found.logits, other.logits)
    assert found.head.c == plain.head.c
    assert found.logits == pytest.approx(plain.logits, abs=0.1)
    assert len(plain_events) == len(events), "the path ends where the head's own curve does"


def test_nested_cross_validation_answers_every_image_once_and_the_test_with_the_head_itself() -> None:
    found, _ = _fit(nested=True, pairs=True)
    assert found.nested is not None
    assert found.nested.shape == (360, 10)
    assert np.isfinite(found.nested).all()
    test = FOLDS == TEST
    logits = found.head.logits(FEATURES[test])
    assert np.array_equal(found.nested[test].argmax(axis=1), logits.argmax(axis=1))
    ratio = found.nested[test] / logits
    assert ratio == pytest.approx(np.full_like(ratio, ratio[0, 0]), rel=0.02), "divided by one temperature"
    assert abs(_right(found.nested, LABELS) - found.head.val_accuracy) < 0.05


def test_a_class_with_two_images_beside_the_test_is_judged_without_heads_that_would_lack_it() -> None:
    labels = np.where(LABELS == 9, 8, LABELS)
    labels[[0, 10, 20]] = 9
    folds = np.where(FOLDS == TEST, TEST, FOLDS % 2)
    assert folds[[0, 10, 20]].tolist() == [TEST, 0, 1]
    found, _ = _fit(labels=labels, folds=folds, nested=True, pairs=True)
    assert found.nested is not None
    assert np.isfinite(found.nested).all()


def test_learning_from_the_validation_part_too_reads_more() -> None:
    rng = np.random.default_rng(1)
    gains = []
    for _ in range(6):
        order = rng.permutation(360)
        learned, val, test = order[:80], order[80:100], order[100:]
        old, _ = finish(fit_logistic(FEATURES[learned], LABELS[learned], FEATURES[val], LABELS[val], classes=10))
        rows = order[:100]
        folds = np.empty(100, dtype=int)
        folds[np.argsort(LABELS[rows], kind="stable")] = np.arange(100) % 5
        new, _ = finish(fit_cross_validated(FEATURES[rows], LABELS[rows], folds, classes=10))
        gains.append(
            _right(new.head.logits(FEATURES[test]), LABELS[test]) - _right(old.logits(FEATURES[test]), LABELS[test])
        )
    assert np.mean(gains) > 0


def test_same_arrays_same_head() -> None:
    one, two = (_fit(nested=True)[0] for _ in range(2))
    assert np.array_equal(one.head.weight, two.head.weight)
    assert np.array_equal(one.logits, two.logits)
    assert isinstance(one, CrossValidated)


def test_constant_features_give_a_head_and_no_nan() -> None:
    features, labels = np.ones((60, 8), dtype=np.float32), np.arange(60) % 3
    found, _ = finish(fit_cross_validated(features, labels, np.arange(60) // 3 % 5, classes=3, balanced=True))
    assert np.isfinite(found.head.weight).all()
    assert np.isfinite(found.logits).all()


def test_classes_that_a_head_would_lack_and_missing_folds_are_refused() -> None:
    labels = np.where(FOLDS == 2, 0, np.maximum(1, LABELS))
    with pytest.raises(ValueError, match="9 of 10 classes"):
        _fit(labels=labels)
    with pytest.raises(ValueError, match="1 of them different"):
        _fit(folds=np.minimum(FOLDS, 0))
    with pytest.raises(ValueError, match="test images"):
        _fit(folds=np.abs(FOLDS), nested=True)


def test_the_head_does_not_depend_on_the_number_of_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_validated, "PATH", PATH[3:5])
    rng = np.random.default_rng(0)
    labels, folds = np.arange(600) % 10, np.arange(600) // 10 % 6 - 1
    features = rng.normal(0, 1, (600, 600)).astype(np.float32) + np.eye(10, 600, dtype=np.float32)[labels]
    found = []
    for cores in (1, 2):
        with threadpool_limits(cores):
            found.append(_fit(features, labels, folds, nested=True, pairs=True)[0])
    assert np.array_equal(found[0].head.weight, found[1].head.weight)
    assert np.array_equal(found[0].nested, found[1].nested)
