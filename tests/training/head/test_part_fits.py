"""Heads that learn from parts of the pictures."""

from __future__ import annotations

import numpy as np
import pytest

from tl_core.training.head.folds import stratified_folds
from tl_core.training.head.part_fits import SHARES, fit_parts


def test_more_pictures_make_better_answers() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 3
    features = (rng.normal(0, 1, (240, 20)) + 1.2 * np.eye(20)[labels]).astype(np.float32)
    folds = stratified_folds(labels, np.arange(240))
    assert folds is not None
    found = fit_parts(features, labels, folds, np.arange(240), classes=3, c=0.1)
    assert found.sizes == pytest.approx([192 * share for share in SHARES], rel=0.02)
    accuracies = found.right.mean(axis=1)
    assert accuracies[-1] > accuracies[0] + 0.05
    again = fit_parts(features, labels, folds, np.arange(240), classes=3, c=0.1)
    assert (again.right == found.right).all()


def test_no_head_sees_the_group_of_a_picture_that_it_answers() -> None:
    rng = np.random.default_rng(1)
    groups, labels = np.repeat(np.arange(60), 4), np.repeat(np.arange(60) % 2, 4)
    features = np.repeat(rng.normal(0, 1, (60, 80)), 4, axis=0).astype(np.float32)
    alone = stratified_folds(labels, np.arange(240))
    together = stratified_folds(labels, groups)
    assert alone is not None
    assert together is not None
    leaked = fit_parts(features, labels, alone, np.arange(240), classes=2, c=1.0).right[-1].mean()
    kept = fit_parts(features, labels, together, groups, classes=2, c=1.0).right[-1].mean()
    assert leaked > 0.95
    assert kept < 0.7, "the features say nothing of the label"


def test_the_smallest_part_holds_every_class() -> None:
    labels = np.array([0] * 40 + [1] * 4)
    features = np.random.default_rng(2).normal(0, 1, (44, 6)).astype(np.float32) + labels[:, None] * np.float32(9)
    folds = stratified_folds(labels, np.arange(44))
    assert folds is not None
    assert fit_parts(features, labels, folds, np.arange(44), classes=2, c=0.1).right[0].mean() > 0.95


def test_what_cannot_be_cross_validated_is_refused() -> None:
    features, labels = np.zeros((6, 2), dtype=np.float32), np.array([0, 0, 0, 1, 1, 1])
    with pytest.raises(ValueError, match="Class 0 lies in fold 0 only"):
        fit_parts(features, labels, np.array([0, 0, 0, 1, 1, 1]), np.arange(6), classes=2, c=1.0)
    with pytest.raises(ValueError, match="3 folds"):
        fit_parts(features, labels, np.array([0, 1, 0]), np.arange(6), classes=2, c=1.0)
