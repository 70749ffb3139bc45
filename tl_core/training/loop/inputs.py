"""The inputs of a training step: rows of pixels or of cached activations, as tensors on the device. Needs torch.

An array that fits the memory of a GPU is kept there; of a larger one, batches are read ahead.
"""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tl_core.data.pace import in_order
from tl_core.documents.options import Level
from tl_core.documents.spec import Precision
from tl_core.models.build import Backbone
from tl_core.training.device import autocast, on_device, resident_bytes, to_device
from tl_core.training.loop.augment import augment

AHEAD = 2
"""Batches that are read ahead."""


@dataclass(frozen=True)
class Copies:
    """Activations of augmented copies of some images, those of the training split."""

    rows: NDArray[np.integer]
    """(T,) numbers of the images, in the order of each of `views`."""
    views: tuple[NDArray[np.float16], ...]
    """Each (T, ...). The unchanged images are not included."""


class Stream:
    """Expected batches of one array, read ahead in order, as tensors in pinned memory for a GPU."""

    def __init__(self, array: NDArray[Any], batches: Sequence[NDArray[np.integer]], *, pinned: bool) -> None:
        self._expected = deque(batches)

        def read(number: int) -> Tensor:
            rows = torch.from_numpy(np.ascontiguousarray(array[batches[number]]))
            # The host may limit pinned memory; without it, copying only takes longer.
            with suppress(RuntimeError):
                return rows.pin_memory() if pinned else rows
            return rows

        self._read = in_order(read, len(batches), ahead=AHEAD)

    def take(self, rows: NDArray[np.integer]) -> Tensor | None:
        """The batch `rows` if it is the next expected one; else None, and the expected batch remains."""
        if not self._expected or self._expected[0] is not rows:
            return None
        self._expected.popleft()
        return next(self._read)

    def close(self) -> None:
        self._read.close()


@dataclass
class Inputs:
    """Rows (N, ...), and how they become the input of the stages that learn."""

    rows: NDArray[Any]
    """uint8 pixels (N, S, S, 3), or float16 activations (N, ...) of any rank."""
    frozen: nn.Module | None
    """Frozen stages that are computed on the rows every time, without gradients; None where there are none."""
    normalise: Callable[[Tensor], Tensor] | None
    """Normalises pixels; None for activations."""
    device: torch.device
    level: Level = "none"
    """Level of augmentation of pixels; activations of augmented images are in `copies`."""
    copies: Copies | None = None
    resident: bool | None = None
    """Whether the arrays are kept on the device; None: if they fit."""
    precision: Precision = "float32"
    """Precision in which the frozen stages compute."""

    def __post_init__(self) -> None:
        arrays = [self.rows, *(self.copies.views if self.copies else ())]
        self._sources: list[NDArray[Any] | Tensor] = list(arrays)
        self._stream: Stream | None = None
        if self.resident is None:
            size = sum(array.nbytes for array in arrays)
            self.resident = self.device.type == "cuda" and size < resident_bytes(self.device)
        if self.resident:
            self._sources = [on_device(array, self.device) for array in arrays]
        self._places = np.full(len(self.rows), -1)
        if self.copies:
            self._places[self.copies.rows] = np.arange(len(self.copies.rows))

    @classmethod
    def of_pixels(
        cls,
        backbone: Backbone,
        pixels: NDArray[np.uint8],
        *,
        frozen: int,
        device: torch.device,
        level: Level,
        precision: Precision = "float32",
    ) -> Self:
        """Pixels, augmented in training; `frozen` stages are computed on them every time, in `precision`."""
        return cls(
            pixels,
            backbone.prefix(frozen) if frozen else None,
            backbone.normalise,
            device,
            level=level,
            precision=precision,
        )

    @classmethod
    def of_activations(
        cls, activations: NDArray[np.floating[Any]], *, device: torch.device, copies: Copies | None = None
    ) -> Self:
        """The output of the frozen stages; with `copies`, training takes one view of each image at random."""
        return cls(rows=activations, frozen=None, normalise=None, device=device, copies=copies)

    def expect(self, batches: Sequence[NDArray[np.integer]]) -> None:
        """Announce the next calls of `batch`, the same array objects in this order, so that a GPU need not wait for them."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None
        source = self._sources[0]
        if self.device.type == "cuda" and self.copies is None and not isinstance(source, Tensor):
            self._stream = Stream(source, batches, pinned=True)

    def batch(
        self, rows: NDArray[np.integer], generator: torch.Generator | None = None, *, at_once: int | None = None
    ) -> Tensor:
        """The given rows as float32 on the device, augmented where a `generator` is given.

        At most `at_once` rows pass through the frozen stages at a time; None: all of them.
        """
        if self.normalise is None:
            return self._views(rows, generator).float()
        taken = self._take(0, rows)
        changed = taken if generator is None else augment(taken, self.level, generator)
        prepared = self.normalise(changed)
        if self.frozen is None:
            return prepared
        with torch.no_grad(), autocast(self.device, self.precision):
            return torch.cat([self.frozen(part) for part in torch.split(prepared, at_once or len(prepared))]).float()

    def _views(self, rows: NDArray[np.integer], generator: torch.Generator | None) -> Tensor:
        if generator is None or self.copies is None:
            return self._take(0, rows)
        drawn = torch.randint(len(self._sources), (len(rows),), generator=generator).numpy()
        places = self._places[rows]
        drawn[places < 0] = 0
        order = np.argsort(drawn, kind="stable")
        parts = []
        for view in np.unique(drawn):
            chosen = order[drawn[order] == view]
            parts.append(self._take(int(view), rows[chosen] if view == 0 else places[chosen]))
        back = np.empty(len(rows), dtype=np.int64)
        back[order] = np.arange(len(rows))
        return torch.cat(parts)[to_device(torch.from_numpy(back), self.device)]

    def _take(self, source: int, rows: NDArray[np.integer]) -> Tensor:
        array = self._sources[source]
        if isinstance(array, Tensor):
            return array[to_device(torch.from_numpy(rows), self.device)]
        read = self._stream.take(rows) if self._stream is not None and source == 0 else None
        if read is not None:
            return read.to(self.device, non_blocking=True)
        return to_device(torch.from_numpy(np.ascontiguousarray(array[rows])), self.device)
