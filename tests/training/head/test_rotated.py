"""Heads that are fitted together on rotated features: the same as each alone on the features as they are."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tl_core.evaluation.metrics import probabilities
from tl_core.training.head import logistic, rotated
from tl_core.training.head.fitted import class_weights
from tl_core.training.head.logistic import Fit, Scaled, Scaling, fit
from tl_core.training.head.rotated import Heads, Rotated, fit_heads

FEATURES, LABELS = load_digits(return_X_y=True)
FEATURES, LABELS = FEATURES[:300].astype(np.float32), LABELS[:300]
WIDE = (FEATURES @ np.random.default_rng(0).normal(0, 1, (64, 400))).astype(np.float32)
"""More features than images."""


def _alone(features: np.ndarray, labels: np.ndarray, c: float, classes: int, counts: np.ndarray | None) -> np.ndarray:
    scaling = Scaling.of(features)
    found = fit(Scaled(features, scaling), labels, c=c, start=Fit.start(classes, features.shape[1]), counts=counts)
    return probabilities(scaling.apply(features) @ found.weight.T + found.bias)


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both solvers go on to the end."""
    for module in (logistic, rotated):
        monkeypatch.setattr(module, "TOLERANCE", 1e-6)
        monkeypatch.setattr(module, "ITERATIONS", 2000)


@pytest.mark.parametrize("features", [FEATURES, WIDE])
@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("c", [1e-3, 0.3])
def test_each_head_is_the_one_of_the_plain_solver_on_its_own_images(
    features: np.ndarray, balanced: bool, classes: int, c: float
) -> None:
    rows = classes > LABELS
    features, labels = features[rows], LABELS[rows]
    part = np.arange(len(labels)) % 3
    used = np.array([part >= 0, part != 0, part != 1])
    counts = np.array([own * (class_weights(labels[own])[labels] if balanced else 1.0) for own in used])
    turned = Rotated.of(features)
    heads = fit_heads(turned, labels, counts, c=c, start=Heads.start(3, classes, turned.features.shape[1]))
    for head, own in enumerate(used):
        weight, bias = turned.fold(heads.weight[head], heads.bias[head])
        ours = probabilities(features[own] @ weight.T + bias)
        theirs = _alone(features[own], labels[own], c, classes, counts[head][own] if balanced else None)
        assert np.abs(ours - theirs).max() < 2e-3
        assert np.abs(heads.weight[head].sum(axis=0)).max() < 1e-9


def test_heads_one_by_one_and_images_part_by_part_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    turned = Rotated.of(FEATURES)
    counts = np.array([np.arange(300) % 4 != part for part in range(4)], dtype=float)
    start = Heads.start(4, 10, turned.features.shape[1])
    together = fit_heads(turned, LABELS, counts, c=0.1, start=start)
    monkeypatch.setattr(rotated, "_TOGETHER", 1000)
    monkeypatch.setattr(rotated, "_SCORES", 1000)
    alone = fit_heads(turned, LABELS, counts, c=0.1, start=start)
    assert np.abs(together.weight - alone.weight).max() < 2e-3


def test_there_are_no_more_axes_than_images_or_features_that_vary() -> None:
    assert Rotated.of(WIDE[:50]).features.shape[1] == 49
    turned = Rotated.of(WIDE)
    assert turned.features.shape[1] == np.linalg.matrix_rank(FEATURES - FEATURES.mean(axis=0))
    assert (turned.features @ turned.axes.T + turned.centre) == pytest.approx(WIDE, abs=1e-2)


def test_features_are_read_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Rotated.of(FEATURES)
    monkeypatch.setattr(rotated, "PART", 64)
    parts = Rotated.of(FEATURES)
    assert np.abs(parts.features) == pytest.approx(np.abs(whole.features), abs=1e-2)
