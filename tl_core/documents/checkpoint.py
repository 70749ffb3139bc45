"""checkpoint.safetensors: the state of training after an epoch, from which a run that was interrupted goes on.

The file holds tensors; the document is text in its header, so that both are replaced by one rename. `runs.train.checkpoints` writes it.
"""

from pathlib import Path
from typing import Self

from pydantic import ConfigDict, Field
from safetensors import SafetensorError, safe_open

from tl_core.documents.base import Document
from tl_core.documents.spec import Precision
from tl_core.errors import DocumentError, NotFound

ENTRY = "checkpoint"
"""The name of the document in the header of the file."""


class Checkpoint(Document):
    """How far training had come, and all of its state that is no tensor."""

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
