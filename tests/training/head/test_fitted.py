"""The fitted head: learns, chooses on validation, is the same every time, and says how sure it is."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.training.helpers import finish
from tl_core.documents.events import RegularisationTried
from tl_core.evaluation.metrics import probabilities
from tl_core.training.head.fitted import PATH, fit_logistic, significant_temperature, temperature


def _digits(classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    features, labels = load_digits(return_X_y=True)
    kept = labels < classes
    return features[kept].astype(np.float32), labels[kept]


def _fit(features: np.ndarray, labels: np.ndarray, classes: int):  # type: ignore[no-untyped-def]
    part = np.arange(len(labels)) % 3
    return finish(
        fit_logistic(features[part == 0], labels[part == 0], features[part == 1], labels[part == 1], classes=classes)
    )


def test_reads_digits_it_has_not_seen() -> None:
    features, labels = _digits()
    head, events = _fit(features, labels, 10)
    unseen = np.arange(len(labels)) % 3 == 2
    assert (head.logits(features[unseen]).argmax(axis=1) == labels[unseen]).mean() > 0.94
    assert head.weight.dtype == head.bias.dtype == np.float32
    assert head.weight.shape == (10, 64)
    assert [event.c for event in events] == list(PATH[: len(events)])


def test_the_chosen_head_is_the_best_of_the_curve() -> None:
    features, labels = _digits()
    rng = np.random.default_rng(0)
    noisy = features + rng.normal(0, 12, features.shape).astype(np.float32)
    head, events = _fit(noisy, labels, 10)
    points = [event for event in events if isinstance(event, RegularisationTried)]
    best = min(points, key=lambda point: point.val_loss)
    assert (head.c, head.val_loss, head.val_accuracy) == (best.c, best.val_loss, best.val_accuracy)
    assert [point for point in points if point.best][-1] is best
    assert len(points) < len(PATH), "the path ends when validation stops improving"


def test_folding_keeps_the_validation_accuracy() -> None:
    features, labels = _digits()
    head, _ = _fit(features * 1e-3 + 5, labels, 10)
    val = np.arange(len(labels)) % 3 == 1
    assert (head.logits(features[val] * 1e-3 + 5).argmax(axis=1) == labels[val]).mean() == head.val_accuracy


def test_two_classes_have_two_rows_that_mirror_each_other() -> None:
    features, labels = _digits(2)
    head, _ = _fit(features, labels, 2)
    assert head.weight.shape == (2, 64)
    assert head.weight[0] == pytest.approx(-head.weight[1])
    assert head.val_accuracy > 0.98


def test_same_arrays_same_head() -> None:
    features, labels = _digits()
    one, _ = _fit(features, labels, 10)
    two, _ = _fit(features, labels, 10)
    assert np.array_equal(one.weight, two.weight)
    assert np.array_equal(one.bias, two.bias)


def test_validation_may_lack_a_class_and_training_may_not() -> None:
    features, labels = _digits(3)
    few = labels[:60] < 2
    head, _ = finish(fit_logistic(features[60:], labels[60:], features[:60][few], labels[:60][few], classes=3))
    assert head.weight.shape == (3, 64)
    with pytest.raises(ValueError, match="2 of 3 classes"):
        next(fit_logistic(features[labels < 2], labels[labels < 2], features, labels, classes=3))


def test_constant_features_give_a_head_and_no_nan() -> None:
    features, labels = np.ones((30, 8), dtype=np.float32), np.arange(30) % 3
    head, _ = finish(fit_logistic(features, labels, features, labels, classes=3))
    assert np.isfinite(head.weight).all()
    assert np.isfinite(head.bias).all()


def test_a_data_set_of_a_real_ones_size_is_fitted() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(1750) % 10
    centres = rng.normal(0, 1, (10, 1280))
    features = (np.abs(centres[labels] * 0.3 + rng.normal(0, 1, (1750, 1280)))).astype(np.float32)
    head, _ = finish(fit_logistic(features[:1443], labels[:1443], features[1443:], labels[1443:], classes=10))
    assert head.val_accuracy > 0.5


def test_temperature_makes_overconfident_answers_less_certain_and_underconfident_ones_more() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(0, 2, (4000, 4))
    labels = np.array([rng.choice(4, p=line) for line in probabilities(honest)])
    assert temperature(honest, labels) == pytest.approx(1.0, abs=0.1)
    assert temperature(honest * 3, labels) == pytest.approx(3.0, rel=0.1)
    assert temperature(honest / 2, labels) == pytest.approx(0.5, rel=0.1)


def test_a_temperature_that_chance_explains_is_none() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        honest = rng.normal(0, 2, (200, 4))
        labels = np.array([rng.choice(4, p=line) for line in probabilities(honest)])
        assert temperature(honest, labels) != 1.0
        assert significant_temperature(honest, labels) == 1.0
        for factor in (3.0, 0.5):
            assert significant_temperature(honest * factor, labels) == temperature(honest * factor, labels) != 1.0
    assert significant_temperature(np.zeros((0, 2)), np.zeros(0, dtype=int)) == 1.0


def test_ten_right_answers_do_not_make_certainty() -> None:
    logits = np.eye(2)[np.arange(10) % 2] * 8
    labels = np.arange(10) % 2
    sure = probabilities(logits / temperature(logits, labels)).max(axis=1)
    assert (sure < 0.97).all()
    assert temperature(np.zeros((0, 2)), np.zeros(0, dtype=int)) == 1.0
