"""Which pictures are similar, by the cosine of their features or embeddings."""

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.report import Lookalikes

LOOKALIKES = 3
"""Pictures of each class that are shown beside one that somebody decides about."""
_PAIRS = 2_500_000
"""Pairs of pictures that memory holds at once: 30 MB."""


def nearest(vector: NDArray[np.floating], vectors: NDArray[np.floating], most: int) -> list[tuple[int, float]]:
    """The rows of the `most` of `vectors` (N, D) with the largest cosine with `vector` (D,), each with it, the most similar first."""
    wide = vectors.astype(np.float32)
    lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(vector)
    cosines = wide @ vector.astype(np.float32) / np.maximum(lengths, 1e-12)
    return [(int(row), float(cosines[row])) for row in np.argsort(-cosines, kind="stable")[:most]]


def lookalikes(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    rows: NDArray[np.integer] | None = None,
    suggested: NDArray[np.integer] | None = None,
) -> tuple[NDArray[np.int64], tuple[Lookalikes, ...]]:
    """For each of the pictures `rows` (M,) another class (M,), and the `LOOKALIKES` nearest pictures of its own class and of that one.

    `features` (N, D) and `labels` (N,) are those of all pictures; without `rows`, all are meant. The other class is that of `suggested` (M,), or
    without it that of the nearest picture with another label; where there is none, it is the picture's own, without lookalikes. Pictures
    of its own group, by `groups` (N,), are passed over: copies of it say nothing new.
    """
    lengths = np.maximum(np.sqrt(np.einsum("nd,nd->n", features, features)), 1e-12)
    rows = np.arange(len(features)) if rows is None else np.asarray(rows, dtype=np.int64)
    others = labels[rows].astype(np.int64) if suggested is None else np.asarray(suggested, dtype=np.int64)
    near: list[Lookalikes] = []
    for some in np.array_split(rows, max(1, -(-len(rows) * len(features) // _PAIRS))):
        orders = np.argsort(-(features[some] @ features.T) / lengths, axis=1, kind="stable")
        for row, order in zip(some, orders, strict=True):
            candidates = order[groups[order] != groups[row]]
            same = labels[candidates] == labels[row]
            different, place = candidates[~same], len(near)
            if suggested is None and len(different):
                others[place] = labels[different[0]]
            of_other = different[labels[different] == others[place]]
            near.append(
                Lookalikes(
                    of_label=tuple(candidates[same][:LOOKALIKES].tolist()),
                    of_suggested=tuple(of_other[:LOOKALIKES].tolist()),
                )
            )
    return others, tuple(near)
