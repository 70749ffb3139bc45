"""The logistic head's solver: the weights that scikit-learn finds, in little memory, also part by part."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from tl_core.training.head import logistic
from tl_core.training.head.fitted import class_weights
from tl_core.training.head.logistic import Fit, Scaled, Scaling, fit

FEATURES, LABELS = load_digits(return_X_y=True)
FEATURES = FEATURES[:900].astype(np.float32)
LABELS = LABELS[:900]
SCALING = Scaling.of(FEATURES)


def found(c: float, *, balanced: bool = False, classes: int = 10) -> Fit:
    rows = classes > LABELS
    counts = class_weights(LABELS[rows])[LABELS[rows]] if balanced else None
    features = Scaled(FEATURES[rows], SCALING)
    return fit(features, LABELS[rows], c=c, start=Fit.start(classes, 64), counts=counts)


@pytest.mark.parametrize("c", [1e-3, 1e-1, 3.0])
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("classes", [2, 10])
def test_scikit_learn_finds_the_same(c: float, balanced: bool, classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logistic, "TOLERANCE", 1e-5)
    monkeypatch.setattr(logistic, "ITERATIONS", 1000)
    rows = classes > LABELS
    scaled = SCALING.apply(FEATURES[rows])
    model = LogisticRegression(C=c, tol=1e-5, max_iter=1000, class_weight="balanced" if balanced else None)
    model.fit(scaled, LABELS[rows])
    ours = found(c, balanced=balanced, classes=classes)
    theirs = model.predict_proba(scaled)
    scores = scaled @ ours.weight.T + ours.bias
    mine = np.exp(scores - scores.max(axis=1, keepdims=True))
    mine /= mine.sum(axis=1, keepdims=True)
    assert np.abs(mine - theirs).max() < 2e-3
    assert (mine.argmax(axis=1) == theirs.argmax(axis=1)).mean() > 0.998


def test_part_by_part_is_the_same_as_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = found(0.1)
    monkeypatch.setattr(logistic, "IN_MEMORY", 1000)
    monkeypatch.setattr(logistic, "PART", 128)
    parts = found(0.1)
    assert np.abs(whole.weight - parts.weight).max() < 2e-3
    scaled = Scaled(FEATURES, Scaling.of(FEATURES))
    assert len(list(scaled.parts())) == 8
    assert np.allclose(
        scaled.logits(whole.weight, whole.bias), SCALING.apply(FEATURES) @ whole.weight.T + whole.bias, atol=1e-4
    )


def test_rows_of_the_weights_sum_to_nothing() -> None:
    two = found(0.1, classes=2)
    assert two.weight[0] == pytest.approx(-two.weight[1])
    assert np.abs(found(1.0).weight.sum(axis=0)).max() < 1e-9


def test_the_common_scale_is_the_root_of_the_mean_variance() -> None:
    assert SCALING.scale == pytest.approx(np.sqrt(FEATURES.var(axis=0, dtype=np.float64).mean()), rel=1e-5)
    assert SCALING.centre == pytest.approx(FEATURES.mean(axis=0), rel=1e-5)
    assert Scaling.of(np.ones((4, 3), dtype=np.float32)).scale == 1.0
