"""The solver: the heads that scikit-learn finds, each as without the others, also where the features are read part by part."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits

from tl_core.evaluation.metrics import probabilities
from tl_core.training.head import solver
from tl_core.training.head.fitted import class_weights
from tl_core.training.head.solver import Rotated, Taken, fit_heads, no_heads

FEATURES, LABELS = load_digits(return_X_y=True)
FEATURES, LABELS = FEATURES[:300].astype(np.float32), LABELS[:300]
WIDE = (FEATURES @ np.random.default_rng(0).normal(0, 1, (64, 310))).astype(np.float32)
"""More features than images."""


def _heads(features: np.ndarray, labels: np.ndarray, counts: np.ndarray, c: float) -> list[tuple[np.ndarray, ...]]:
    rotated = Rotated(features)
    classes = int(labels.max()) + 1
    heads = fit_heads(rotated, labels, counts, c=c, start=no_heads(len(counts), classes, rotated))
    return [rotated.fold(head) for head in heads]


@pytest.mark.parametrize("memory", [solver.IN_MEMORY, 1000])
@pytest.mark.parametrize("features", [FEATURES, WIDE], ids=["narrow", "wide"])
@pytest.mark.parametrize(("balanced", "classes", "c"), [(False, 10, 1e-3), (True, 10, 0.01), (False, 2, 0.3)])
def test_scikit_learn_finds_the_same(
    features: np.ndarray, balanced: bool, classes: int, c: float, memory: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"TOLERANCE": 1e-5, "ITERATIONS": 1000, "IN_MEMORY": memory, "PART": 128}.items():
        monkeypatch.setattr(solver, name, value)
    rows = classes > LABELS
    features, labels = features[rows], LABELS[rows]
    part = np.arange(len(labels)) % 3
    used = [part >= 0, part != 0, part != 1]
    weights = [class_weights(labels[some])[labels] if balanced else np.ones(len(labels)) for some in used]
    heads = _heads(features, labels, np.array([some * weight for some, weight in zip(used, weights, strict=True)]), c)
    for (weight, bias), some, counts in zip(heads, used, weights, strict=True):
        scaled = (features - features.mean(axis=0)) / np.sqrt(features[some].var(axis=0).mean())
        model = LogisticRegression(C=c, tol=1e-5, max_iter=1000)
        model.fit(scaled[some], labels[some], sample_weight=counts[some])
        ours = probabilities(features @ weight.T + bias)
        assert np.abs(ours - model.predict_proba(scaled)).max() < 2e-3
        assert np.abs(weight.sum(axis=0)).max() < 1e-5


def test_each_head_is_the_one_that_it_is_without_the_others() -> None:
    counts = np.array([np.arange(300) % 4 != part for part in range(4)], dtype=float)
    together = _heads(FEATURES, LABELS, counts, 0.1)
    for head, row in zip(together, counts, strict=True):
        (alone,) = _heads(FEATURES, LABELS, row[None], 0.1)
        assert head[0] == pytest.approx(alone[0], abs=1e-5)


def test_a_head_knows_nothing_of_the_pictures_that_it_is_judged_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solver, "TOLERANCE", 1e-5)
    learned = np.arange(300) % 5 != 0
    odd = np.where(learned[:, None], FEATURES, 10 * FEATURES).astype(np.float32)
    (one,) = _heads(odd, LABELS, learned[None].astype(float), 0.01)
    (other,) = _heads(FEATURES[learned], LABELS[learned], np.ones((1, learned.sum())), 0.01)
    assert one[0] == pytest.approx(other[0], abs=1e-4)


def test_heads_do_not_depend_on_how_many_go_together_nor_on_the_number_of_cores(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(600) % 10
    features = rng.normal(0, 1, (600, 600)).astype(np.float32) + np.eye(10, 600, dtype=np.float32)[labels]
    counts = np.ones((2, 600))
    with threadpool_limits(1):
        first = _heads(features, labels, counts, 0.1)
    with threadpool_limits(2):
        assert np.array_equal(first[0][0], _heads(features, labels, counts, 0.1)[0][0])
    monkeypatch.setattr(solver, "_TOGETHER", 1000)
    monkeypatch.setattr(solver, "_SCORES", 1000)
    assert first[0][0] == pytest.approx(_heads(features, labels, counts, 0.1)[0][0], abs=1e-5)


def test_there_are_no_more_axes_than_images_or_features_that_vary(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(Rotated(WIDE[:50]).variances) == 49
    rotated = Rotated(WIDE)
    assert len(rotated.variances) == np.linalg.matrix_rank(FEATURES - FEATURES.mean(axis=0))
    assert rotated.values(slice(None)) @ rotated.axes.T + rotated.centre == pytest.approx(WIDE, abs=1e-2)
    monkeypatch.setattr(solver, "PART", 64)
    parts = Rotated(FEATURES)
    assert np.abs(parts.values(slice(None))) == pytest.approx(np.abs(Rotated(FEATURES).values(slice(None))), abs=1e-2)
    some = Rotated(Taken(FEATURES, np.arange(0, 300, 2)))
    assert some.values(np.array([3])) == pytest.approx(Rotated(FEATURES[::2]).values(np.array([3])), abs=1e-3)
