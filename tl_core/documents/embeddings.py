"""embeddings.npz: what the delivered network makes of a run's pictures before its last layer, kept beside the run's report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.arrays import read_arrays, write_arrays
from tl_core.errors import DocumentError

_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Embeddings:
    """Embeddings of the pictures of all parts: training, validation and test. The file holds no pickle."""

    rows: NDArray[np.int64]
    """(M,) rows of the manifest, in order."""
    vectors: NDArray[np.float16]
    """(M, D) for `rows`."""

    @classmethod
    def of(cls, rows: NDArray[np.integer], vectors: NDArray[np.floating]) -> Self:
        """Round `vectors` (M, D) of the pictures `rows` (M,) to float16, clipped to its range."""
        return cls(rows.astype(np.int64), np.clip(vectors, -_LARGEST, _LARGEST).astype(np.float16))

    def write(self, path: Path) -> None:
        """Write the file whole or not at all. Raises DiskFull."""
        write_arrays(path, {"rows": self.rows, "vectors": self.vectors})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file at `path`.

        Raises:
            NotFound: there is none: nothing has needed them yet.
            DocumentError: it is damaged.
        """
        arrays = read_arrays(path, "embeddings", required=("rows", "vectors"))
        found = cls(arrays["rows"], arrays["vectors"])
        if found.rows.ndim != 1 or found.vectors.ndim != 2 or len(found.rows) != len(found.vectors):
            raise DocumentError(f"{path} holds no embeddings: its arrays do not fit each other.")
        return found
