"""Pictures on a plane, similar ones near each other, and which pictures look most like each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tl_core.documents.judgements import Lookalikes
from tl_core.evaluation.suspects import LOOKALIKES

FEWEST = 4
"""The fewest pictures of a map."""
COMPONENTS = 50
"""Principal components that t-SNE is given, as its authors advise: the rest is mostly noise, and distances take less time."""
_PERPLEXITY = 30.0
_ITERATIONS = 500
"""Half of scikit-learn's: the map of 2,722 pictures changes little afterwards."""
_BLOCK = 512
"""Rows of the matrix of all pairs that memory holds at once."""


def arranged(features: NDArray[np.floating]) -> NDArray[np.float32]:
    """A place (N, 2) for each of `features` (N, D): t-SNE (van der Maaten and Hinton 2008) of their principal components.

    It begins from the first two components and runs on one thread, so the same features give the same map. Near pictures are alike;
    distances between far ones say nothing. Takes about 4 seconds a thousand pictures.

    Raises:
        ValueError: there are fewer than `FEWEST`.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(features) < FEWEST:
        raise ValueError(f"{len(features)} pictures make no map.")
    with threadpool_limits(1):
        components = PCA(min(COMPONENTS, *features.shape), random_state=0).fit_transform(features)
        perplexity = min(_PERPLEXITY, (len(features) - 1) / 3)
        tsne = TSNE(perplexity=perplexity, init="pca", max_iter=_ITERATIONS, random_state=0)
        return np.asarray(tsne.fit_transform(components), dtype=np.float32)


def all_lookalikes(
    features: NDArray[np.floating], labels: NDArray[np.integer], groups: NDArray[np.integer]
) -> tuple[NDArray[np.int64], tuple[Lookalikes, ...]]:
    """For each picture the class (N,) of the nearest one with another label, and the nearest pictures of its own class and of that one.

    Nearest by the cosine of `features` (N, D). `labels` (N,) are class indices. Pictures of its own group, by `groups` (N,), are passed
    over; where no other class is left, that class is its own, without lookalikes.
    """
    unit = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    others = labels.astype(np.int64)
    found = []
    for start in range(0, len(unit), _BLOCK):
        order = np.argsort(-(unit[start : start + _BLOCK] @ unit.T), axis=1, kind="stable")
        for row, nearest in enumerate(order, start):
            near = nearest[groups[nearest] != groups[row]]
            own = near[labels[near] == labels[row]][:LOOKALIKES]
            different = near[labels[near] != labels[row]]
            if len(different):
                others[row] = labels[different[0]]
            suggested = different[labels[different] == others[row]][:LOOKALIKES]
            found.append(Lookalikes(of_label=tuple(own.tolist()), of_suggested=tuple(suggested.tolist())))
    return others, tuple(found)
