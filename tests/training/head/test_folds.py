"""Folds for cross-validation: every class in each, and a group in one; and heads that learn from parts of the pictures."""

import numpy as np
import pytest

from tl_core.training.head.fitted import SHARES, fit_parts, stratified_folds


def _rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_each_class_is_spread_evenly_over_five_folds() -> None:
    labels = np.repeat([0, 1, 2], [40, 12, 5])
    folds = stratified_folds(labels, np.arange(len(labels)))
    assert folds is not None
    counts = np.array([[((labels == label) & (folds == fold)).sum() for fold in range(5)] for label in range(3)])
    assert (
        counts.tolist() == [[8] * 5, [3, 3, 2, 2, 2], [1] * 5] or (counts.max(axis=1) - counts.min(axis=1) <= 1).all()
    )
    sizes = np.bincount(folds)
    assert sizes.max() - sizes.min() <= 1


def test_a_group_lies_in_one_fold_however_large() -> None:
    labels = np.repeat([0, 1], 60)
    groups = 100 * labels + np.r_[np.zeros(30, dtype=int), _rng().integers(0, 12, 90)]
    folds = stratified_folds(labels, groups)
    assert folds is not None
    assert all(len(set(folds[groups == group])) == 1 for group in groups)
    assert all(set(labels[folds == fold]) == {0, 1} for fold in range(int(folds.max()) + 1))


def test_the_class_with_the_fewest_groups_says_how_many_folds() -> None:
    labels = np.repeat([0, 1], [30, 9])
    groups = np.r_[np.arange(30), np.repeat([30, 31, 32], 3)]
    folds = stratified_folds(labels, groups)
    assert folds is not None
    assert set(folds) == {0, 1, 2}
    assert stratified_folds(labels, np.r_[np.arange(30), np.full(9, 30)]) is None


def test_a_picture_in_two_classes_does_not_leave_a_class_in_one_fold() -> None:
    labels = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2])
    groups = np.array([0, 1, 2, 0, 3, 4, 1, 5, 6])
    folds = stratified_folds(labels, groups)
    assert folds is not None
    assert all(len(set(folds[labels == label])) >= 2 for label in range(3))
    assert folds[0] == folds[3]


def test_the_order_of_the_images_makes_no_difference() -> None:
    rng = _rng()
    labels, groups = rng.integers(0, 4, 200), rng.integers(0, 90, 200)
    order = rng.permutation(200)
    folds, moved = stratified_folds(labels, groups), stratified_folds(labels[order], groups[order])
    assert folds is not None
    assert moved is not None
    assert np.array_equal(folds[order], moved)


def test_two_groups_of_each_class_are_two_folds() -> None:
    labels, groups = np.repeat([0, 1], 10), np.repeat(np.arange(4), 5)
    folds = stratified_folds(labels, groups)
    assert folds is not None
    for label in (0, 1):
        assert sorted(folds[labels == label].tolist()) == [0] * 5 + [1] * 5


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
