"""Answers of heads that were fitted on parts of the pictures: how accuracy grows with their number. Imports no torch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tl_core.training.head.logistic import Features
from tl_core.training.head.rotated import Heads, Rotated, fit_heads

SHARES: tuple[float, ...] = tuple(2.0 ** (step / 2) for step in range(-4, 1))
"""Shares of the pictures outside a fold from which heads learn."""


class PartAnswers(NamedTuple):
    """Out-of-fold answers to all pictures by heads that learned from more and more of the others."""

    sizes: NDArray[np.float64]
    """(S,), how many pictures the heads of each share learned from, the mean over the folds; rising."""
    right: NDArray[np.bool_]
    """(S, N), whether each picture was answered rightly."""


def fit_parts(
    features: Features,
    labels: NDArray[np.integer],
    folds: NDArray[np.integer],
    groups: NDArray[np.integer],
    *,
    classes: int,
    c: float,
    seed: int = 0,
) -> PartAnswers:
    """Fit heads of penalty `c` on each of `SHARES` of the pictures outside each fold, and let them answer the fold's pictures.

    `features` (N, D) must fit the memory; `labels` (N,) are 0 to `classes` - 1; `folds` (N,), from 0 on, are as `folds.stratified_folds`
    gives them, and `groups` (N,) number the pictures that show one thing. A part holds the share of the groups of each class, drawn
    with `seed`, and at least one; the parts of one fold lie in each other.

    Raises:
        ValueError: shapes do not fit, or a class lies in one fold only.
    """
    if not len(features) == len(labels) == len(folds) == len(groups):
        raise ValueError(f"{len(features)} pictures, {len(labels)} labels, {len(folds)} folds, {len(groups)} groups.")
    rng = np.random.default_rng(seed)
    numbers = np.unique(folds)
    place = np.empty(len(labels))
    used = np.zeros((len(SHARES), len(numbers), len(labels)), dtype=bool)
    for at, fold in enumerate(numbers):
        for label in range(classes):
            rows = np.flatnonzero((folds != fold) & (labels == label))
            if not len(rows):
                raise ValueError(f"Class {label} lies in fold {fold} only.")
            own, of_row = np.unique(groups[rows], return_inverse=True)
            place[rows] = rng.permutation(len(own))[of_row]
            for step, share in enumerate(SHARES):
                used[step, at, rows] = place[rows] < max(1, round(share * len(own)))
    rotated = Rotated.of(features)
    right = np.zeros((len(SHARES), len(labels)), dtype=bool)
    heads = Heads.start(len(numbers), classes, rotated.features.shape[1])
    for step in range(len(SHARES)):
        heads = fit_heads(rotated, labels, used[step].astype(np.float64), c=c, start=heads)
        for at, fold in enumerate(numbers):
            rows = np.flatnonzero(folds == fold)
            right[step, rows] = heads.logits(at, rotated.features[rows]).argmax(axis=1) == labels[rows]
    return PartAnswers(used.sum(axis=2).mean(axis=1), right)
