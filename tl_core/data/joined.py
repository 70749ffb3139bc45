"""Joins rows to groups: what is joined to one row is joined to each other (union-find)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


class Joined:
    """Rows 0 to `count` - 1, each alone at first."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, row: int) -> int:
        """The first row of the group of `row`."""
        while self._parent[row] != row:
            self._parent[row] = self._parent[self._parent[row]]
            row = self._parent[row]
        return row

    def pair(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self._parent[second] = first

    def all(self, rows: Sequence[int]) -> None:
        for one, other in pairwise(rows):
            self.pair(one, other)

    def groups(self) -> NDArray[np.intp]:
        """The number of each row's group, 0, 1, ... in the order of their first rows; -1 where a row is alone."""
        roots = [self.root(row) for row in range(len(self._parent))]
        sizes = np.bincount(roots, minlength=len(roots)) if roots else np.empty(0, np.intp)
        number = {root: index for index, root in enumerate(sorted({root for root in roots if sizes[root] > 1}))}
        return np.array([number.get(root, -1) for root in roots], dtype=np.intp)


def alike(keys: Iterable[object]) -> list[list[int]]:
    """The positions of equal keys, where there are several; None is equal to nothing."""
    rows: dict[object, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        if key is not None:
            rows[key].append(row)
    return [same for same in rows.values() if len(same) > 1]
