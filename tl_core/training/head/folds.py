"""Divides labelled images into folds for cross-validation: stratified by class, and no group in two folds."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from numpy.typing import NDArray

MOST = 5
"""The most folds; with more, each head would learn from little more images and all take longer."""


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
    found: NDArray[np.int64] = np.full(len(labels), -1, dtype=np.int64)
    counts: dict[int, list[int]] = {label: [0] * folds for label in groups_of}
    total = [0] * folds
    # The smallest class comes first, since groups that it shares with a larger one are placed only once.
    for label in sorted(groups_of, key=lambda label: (len(groups_of[label]), label)):
        own = counts[label]
        for group in groups_of[label]:
            rows = members[group]
            if found[rows[0]] >= 0:
                continue
            fold = min(range(folds), key=lambda fold: (own[fold], total[fold], fold))
            found[rows] = fold
            total[fold] += len(rows)
            for row in rows:
                counts[int(labels[row])][fold] += 1
    return None if any(sum(map(bool, own)) < 2 for own in counts.values()) else found
