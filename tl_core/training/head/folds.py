"""Divides labelled images into folds for cross-validation, and lets heads answer each fold that learned from parts of the others.

Imports no torch.
"""

from collections import defaultdict
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tl_core.training.head.solver import Features, Rotated, fit_heads, no_heads

MOST = 5
"""The most folds; with more, each head would learn from little more images and all take longer."""
SHARES: tuple[float, ...] = tuple(2.0 ** (step / 2) for step in range(-4, 1))
"""Shares of the pictures outside a fold from which heads learn, for a learning curve."""


def stratified_folds(labels: NDArray[np.integer], groups: NDArray[np.integer]) -> NDArray[np.int64] | None:
    """The fold (N,) of each image, from 0: two to `MOST` folds, as many as the class with the fewest groups has groups.

    `labels` (N,) are class indices, and images with the same entry of `groups` (N,) are in the same fold. Each class is spread evenly
    over the folds. The result depends on labels and groups, and not on the order of the images.

    None where there are no such folds: a class has fewer than two groups, or all its groups are also groups of other classes and
    lie in one fold, so that a head that does not see this fold would not know the class.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(groups.tolist()):
        members[group].append(row)
    groups_of: dict[int, list[int]] = defaultdict(list)
    for group in sorted(members, key=lambda group: (-len(members[group]), group)):
        for label in {int(labels[row]) for row in members[group]}:
            groups_of[label].append(group)
    fewest = min(map(len, groups_of.values()), default=0)
    if fewest < 2:
        return None
    folds = min(MOST, fewest)
    fold_of: NDArray[np.int64] = np.full(len(labels), -1, dtype=np.int64)
    counts: dict[int, list[int]] = {label: [0] * folds for label in groups_of}
    total = [0] * folds
    # The smallest class comes first, since groups that it shares with a larger one are placed only once.
    for label in sorted(groups_of, key=lambda label: (len(groups_of[label]), label)):
        of_class = counts[label]
        for group in groups_of[label]:
            rows = members[group]
            if fold_of[rows[0]] >= 0:
                continue
            fold = min(range(folds), key=lambda fold: (of_class[fold], total[fold], fold))
            fold_of[rows] = fold
            total[fold] += len(rows)
            for row in rows:
                counts[int(labels[row])][fold] += 1
    return None if any(sum(map(bool, of_class)) < 2 for of_class in counts.values()) else fold_of


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

    `features` (N, D); `labels` (N,) are 0 to `classes` - 1; `folds` (N,), from 0 on, are as `stratified_folds` gives them, and
    `groups` (N,) number the pictures that show one thing. A part holds the share of the groups of each class, drawn with `seed`, and at
    least one; the parts of one fold lie in each other.

    Raises:
        ValueError: shapes do not fit, or a class lies in one fold only.
    """
    if not len(features) == len(labels) == len(folds) == len(groups):
        raise ValueError(f"{len(features)} pictures, {len(labels)} labels, {len(folds)} folds, {len(groups)} groups.")
    rng = np.random.default_rng(seed)
    numbers = np.unique(folds)
    used = np.zeros((len(SHARES), len(numbers), len(labels)), dtype=bool)
    for at, fold in enumerate(numbers):
        for label in range(classes):
            rows = np.flatnonzero((folds != fold) & (labels == label))
            if not len(rows):
                raise ValueError(f"Class {label} lies in fold {fold} only.")
            of_class, number = np.unique(groups[rows], return_inverse=True)
            place = rng.permutation(len(of_class))[number]
            for step, share in enumerate(SHARES):
                used[step, at, rows] = place < max(1, round(share * len(of_class)))
    rotated = Rotated(features)
    right = np.zeros((len(SHARES), len(labels)), dtype=bool)
    heads = no_heads(len(numbers), classes, rotated)
    for step in range(len(SHARES)):
        heads = fit_heads(rotated, labels, used[step].astype(np.float64), c=c, start=heads)
        for head, fold in zip(heads, numbers, strict=True):
            rows = np.flatnonzero(folds == fold)
            right[step, rows] = rotated.logits(head, rows).argmax(axis=1) == labels[rows]
    return PartAnswers(used.sum(axis=2).mean(axis=1), right)
