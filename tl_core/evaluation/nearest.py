"""The pictures whose embeddings are most like that of another picture."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Near(NamedTuple):
    """A picture, and how like it is."""

    row: int
    """Its row among the vectors."""
    similarity: float
    """Cosine of the two embeddings, -1 to 1."""


def nearest(vector: NDArray[np.floating], vectors: NDArray[np.floating], most: int) -> list[Near]:
    """The `most` of `vectors` (N, D) that have the largest cosine with `vector` (D,), the most similar first."""
    wide = vectors.astype(np.float32)
    lengths = np.linalg.norm(wide, axis=1) * np.linalg.norm(vector)
    cosines = wide @ vector.astype(np.float32) / np.maximum(lengths, 1e-12)
    return [Near(int(row), float(cosines[row])) for row in np.argsort(-cosines, kind="stable")[:most]]
