"""Folds for cross-validation: every class in each, and a group in one."""

from __future__ import annotations

import numpy as np

from tl_core.training.head.folds import stratified_folds


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
