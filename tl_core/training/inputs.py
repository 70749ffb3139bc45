"""What a training step reads: rows of pixels or of cached activations, as tensors on the device. Needs torch.

Keeps the whole array on the device while it fits. Knows no labels and no optimizer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tl_core.documents.recipe import Level
from tl_core.errors import DeviceError
from tl_core.models.build import Backbone
from tl_core.training.augment import augment

RESIDENT_SHARE = 0.4
"""Of the device's free memory that the array may take."""


def torch_device(name: str) -> torch.device:
    """The device `cpu`, `cuda` or `mps`, once torch itself has said that it can be used.

    Raises:
        DeviceError: it cannot: the driver may be older than PyTorch asks for.
    """
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise DeviceError(
            "There is a GPU here, but PyTorch cannot use it; its driver may be too old. Mend that, or train on the "
            "processor: --device cpu, or start the app with CUDA_VISIBLE_DEVICES set to nothing."
        )
    return torch.device(name)


@dataclass
class Inputs:
    """Rows (N, ...) and how they become the input of the part that learns."""

    rows: NDArray[Any]
    """uint8 pixels (N, S, S, 3), or float16 activations (N, K, h, w)."""
    frozen: nn.Module | None
    """Run on prepared rows without gradient, where frozen stages are recomputed."""
    normalise: Callable[[Tensor], Tensor] | None
    """Of pixels; None for activations."""
    device: torch.device
    level: Level = "none"

    def __post_init__(self) -> None:
        self._resident: Tensor | None = None
        if self.device.type == "cuda" and self.rows.nbytes < RESIDENT_SHARE * torch.cuda.mem_get_info(self.device)[0]:
            self._resident = torch.from_numpy(np.array(self.rows)).to(self.device)

    @classmethod
    def of_pixels(
        cls, backbone: Backbone, pixels: NDArray[np.uint8], *, frozen: int, device: torch.device, level: Level
    ) -> Inputs:
        """Pixels, changed at random in training; `frozen` stages are run on them every time."""
        part = backbone.prefix(frozen) if frozen else None
        return cls(rows=pixels, frozen=part, normalise=backbone.normalise, device=device, level=level)

    @classmethod
    def of_activations(cls, activations: NDArray[np.float16], *, device: torch.device) -> Inputs:
        return cls(rows=activations, frozen=None, normalise=None, device=device)

    def batch(self, rows: NDArray[np.integer], generator: torch.Generator | None = None) -> Tensor:
        """The rows of those numbers as float32 on the device, changed at random where a `generator` is given."""
        if self._resident is not None:
            taken = self._resident[torch.from_numpy(rows).to(self.device)]
        else:
            taken = torch.from_numpy(np.ascontiguousarray(self.rows[rows])).to(self.device)
        if self.normalise is None:
            return taken.float()
        changed = taken if generator is None else augment(taken, self.level, generator)
        prepared = self.normalise(changed)
        if self.frozen is None:
            return prepared
        with torch.no_grad():
            return torch.as_tensor(self.frozen(prepared))
