"""out_of_fold.npz: what the heads of cross-validation answered to pictures that they had not seen, kept beside a run's report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.arrays import read_arrays, write_arrays
from tl_core.errors import DocumentError


@dataclass(frozen=True)
class OutOfFoldAnswers:
    """Calibrated answers, each by a head that had seen neither the picture nor its group. The file holds no pickle."""

    rows: NDArray[np.int64]
    """(M,) the pictures outside the test, as rows of the manifest, in order."""
    probabilities: NDArray[np.float32]
    """(M, C) for `rows`, with the settings of the run's own head; the report's `val` is measured on these."""
    nested: NDArray[np.float32] | None
    """(N, C) for every picture of the manifest that is in a part of the split, in order, by heads whose settings were chosen without it,
    too; the report's `cross_validated` is measured on these. None in a run on a split of the user's own, or with a class that is all of
    one moment."""
    c: float
    """Inverse strength of the penalty of the run's own head."""

    def write(self, path: Path) -> None:
        """Write the file whole or not at all. Raises DiskFull."""
        arrays: dict[str, Any] = {"rows": self.rows, "probabilities": self.probabilities, "c": np.float64(self.c)}
        if self.nested is not None:
            arrays["nested"] = self.nested
        write_arrays(path, arrays)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file at `path`.

        Raises:
            NotFound: there is none, because no cross-validation was part of the run.
            DocumentError: it is damaged.
        """
        arrays = read_arrays(path, "out-of-fold answers", required=("rows", "probabilities", "c"))
        found = cls(arrays["rows"], arrays["probabilities"], arrays.get("nested"), float(arrays["c"]))
        if found.rows.ndim != 1 or found.probabilities.ndim != 2 or len(found.rows) != len(found.probabilities):
            raise DocumentError(f"{path} holds no out-of-fold answers: its arrays do not fit each other.")
        return found
