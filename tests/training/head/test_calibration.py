"""The temperature says how sure a classifier is, and no more than its answers tell."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from tl_core.evaluation.calibration import accuracy_and_loss, calibrated_loss, significant_temperature, temperature
from tl_core.evaluation.metrics import probabilities


def _honest(images: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    logits = rng.normal(0, 2, (images, 4))
    return logits, np.array([rng.choice(4, p=line) for line in probabilities(logits)])


def test_temperature_makes_overconfident_answers_less_certain_and_underconfident_ones_more() -> None:
    logits, labels = _honest(4000, np.random.default_rng(0))
    best = minimize_scalar(lambda t: accuracy_and_loss(logits / t, labels)[1], bounds=(0.1, 10), method="bounded").x
    assert temperature(logits, labels) == pytest.approx(best, rel=1e-3) == pytest.approx(1.0, abs=0.1)
    assert temperature(logits * 3, labels) == pytest.approx(3 * best, rel=1e-3)
    assert temperature(logits / 2, labels) == pytest.approx(best / 2, rel=1e-3)
    assert calibrated_loss(logits * 3, labels) == pytest.approx(accuracy_and_loss(logits, labels)[1], rel=1e-3)
    assert calibrated_loss(logits * np.inf, labels) == np.inf


def test_a_temperature_that_chance_explains_is_none() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        honest, labels = _honest(200, rng)
        assert temperature(honest, labels) != 1.0
        assert significant_temperature(honest, labels) == 1.0
        for factor in (3.0, 0.5):
            assert significant_temperature(honest * factor, labels) == temperature(honest * factor, labels) != 1.0


def test_ten_right_answers_do_not_make_certainty() -> None:
    logits = np.eye(2)[np.arange(10) % 2] * 8
    labels = np.arange(10) % 2
    sure = probabilities(logits / temperature(logits, labels)).max(axis=1)
    assert (sure < 0.97).all()
    for scale in (temperature, significant_temperature):
        assert scale(np.zeros((0, 2)), np.zeros(0, dtype=int)) == 1.0
