"""The documents of a run in files that hold arrays, and no pickle: embeddings.npz, out_of_fold.npz and checkpoint.safetensors."""

import io
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from safetensors import SafetensorError, safe_open

from tl_core.disk import write_atomically
from tl_core.documents.base import Document
from tl_core.documents.spec import Precision
from tl_core.errors import DocumentError, NotFound

_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class _Arrays:
    """Arrays and numbers by the names of the fields, of pictures as rows of a manifest."""

    what: ClassVar[str]
    """What the file holds, for messages."""
    of_rows: ClassVar[str]
    """The field with one row for each of `rows`."""
    rows: NDArray[np.int64]
    """(M,) rows of the manifest, in order."""

    def write(self, path: Path) -> None:
        """Write the file whole or not at all. Raises DiskFull."""
        content = io.BytesIO()
        present = {name: value for name, value in vars(self).items() if value is not None}
        np.savez(content, allow_pickle=False, **present)
        write_atomically(path, content.getvalue())

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the file at `path`.

        Raises:
            NotFound: there is none: nothing has needed it yet, or it was no part of the run.
            DocumentError: it is damaged, or lacks an array.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays: dict[str, Any] = {name: file[name] for name in file}
            # A number was written as an array without dimensions.
            made = cls(**{name: array if array.ndim else array.item() for name, array in arrays.items()})
        except FileNotFoundError:
            raise NotFound(f"There are no {cls.what} at {path}.") from None
        except (ValueError, KeyError, OSError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise DocumentError(f"{path} holds no {cls.what}: {error}.") from None
        matrix = getattr(made, cls.of_rows)
        if np.ndim(made.rows) != 1 or np.ndim(matrix) != 2 or len(made.rows) != len(matrix):
            raise DocumentError(f"{path} holds no {cls.what}: its arrays do not fit each other.")
        return made


@dataclass(frozen=True)
class Embeddings(_Arrays):
    """Embeddings of the pictures of all parts: training, validation and test."""

    what = "embeddings"
    of_rows = "vectors"
    vectors: NDArray[np.float16]
    """(M, D) for `rows`."""

    @classmethod
    def of(cls, rows: NDArray[np.integer], vectors: NDArray[np.floating]) -> Self:
        """Round `vectors` (M, D) of the pictures `rows` (M,) to float16, clipped to its range."""
        return cls(rows.astype(np.int64), np.clip(vectors, -_LARGEST, _LARGEST).astype(np.float16))


@dataclass(frozen=True)
class OutOfFoldAnswers(_Arrays):
    """Calibrated answers, each by a head that had seen neither the picture nor its group.

    `rows` are the pictures outside the test.
    """

    what = "out-of-fold answers"
    of_rows = "probabilities"
    probabilities: NDArray[np.float32]
    """(M, C) for `rows`, with the settings of the run's own head; the report's `val` is measured on these."""
    c: float
    """Inverse strength of the penalty of the run's own head."""
    nested: NDArray[np.float32] | None = None
    """(N, C) for every picture of the manifest that is in a part of the split, in order, by heads whose settings were chosen without it,
    too; the report's `cross_validated` is measured on these. None in a run on a split of the user's own, or with a class that is all of
    one moment."""


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
