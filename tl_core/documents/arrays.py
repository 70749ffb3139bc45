"""The documents of a run in files that hold arrays, and no pickle: embeddings.npz, out_of_fold.npz and checkpoint.safetensors."""

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from safetensors import SafetensorError, safe_open

from tl_core.disk import write_atomically
from tl_core.documents.base import Document
from tl_core.documents.spec import Precision
from tl_core.errors import DocumentError, NotFound


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write `arrays` (NumPy arrays and scalars) to `path`, whole or not at all. Raises DiskFull."""
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    write_atomically(path, content.getvalue())


def read_arrays(path: Path, what: str, *, required: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Every array of the file at `path`, by its name. `what` the file holds, for messages.

    Raises:
        NotFound: there is no such file.
        DocumentError: it is damaged, or lacks an array that is `required`.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in arrays}
    except FileNotFoundError:
        raise NotFound(f"There are no {what} at {path}.") from None
    except (ValueError, KeyError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DocumentError(f"{path} holds no {what}: {error}.") from None
    missing = [name for name in required if name not in found]
    if missing:
        raise DocumentError(f"{path} holds no {what}: {missing[0]!r} is missing.")
    return found


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


ENTRY = "checkpoint"
"""The name of the document in the header of the file."""


class Checkpoint(Document):
    """How far training had come after an epoch, and all of its state that is no tensor: from it a run that was interrupted goes on.

    The document is text in the header of the file that holds the tensors, so that both are replaced by one rename; `runs.train.checkpoints`
    writes it.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")

    epoch: int = Field(ge=1)
    """The epoch after which it was written."""
    epochs: int
    """How many epochs the run has."""
    best_epoch: int = Field(ge=0)
    """The epoch with the lowest validation loss, whose state is in best.safetensors."""
    best_loss: float
    """Validation loss of that epoch, after the best temperature."""
    best_accuracy: float
    ages: tuple[int, ...]
    """Steps of each group of the optimizer's parameters, in its order."""
    averaged: int
    """Steps of the moving average of the weights; 0 where there is none."""
    scaler: dict[str, int | float]
    """The scale of the loss in float16, as `torch.amp.GradScaler` has it; empty in other precisions."""
    micro_batch: int
    precision: Precision
    """With what training went on: memory, or the range of float16, may have been too small for what the spec asked for first."""
    device: str
    torch: str
    """Version of PyTorch."""

    @classmethod
    def read_from(cls, path: Path) -> Self:
        """The document in the header of the file at `path`; its tensors are not read. Imports no torch.

        Raises:
            NotFound: there is no such file.
            DocumentError: it is damaged, or holds no such document.
        """
        try:
            with safe_open(path, framework="np") as file:
                text = (file.metadata() or {}).get(ENTRY)
        except FileNotFoundError:
            raise NotFound(f"There is no {path.name} in {path.parent.name}.") from None
        except (SafetensorError, OSError) as error:
            raise DocumentError(f"{path.name} is damaged: {error}.") from None
        if text is None:
            raise DocumentError(f"{path.name} holds no checkpoint.")
        return cls.parse(text, path.name)
