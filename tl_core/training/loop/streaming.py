"""Rows that do not fit a GPU's memory, on their way to it: while one batch is computed with, the next ones are read. Needs torch.

Knows no pictures and no steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tl_core.data.parallel import in_order

AHEAD = 2
"""Batches that are read before they are asked for."""


class Stream:
    """The batches that are expected of one array, in order, as tensors in pinned memory where there is a GPU to fetch them."""

    def __init__(self, array: NDArray[Any], batches: Sequence[NDArray[np.integer]], *, pinned: bool) -> None:
        self._expected = deque(batches)

        def read(number: int) -> Tensor:
            rows = torch.from_numpy(np.ascontiguousarray(array[batches[number]]))
            # Hosts may limit how much memory can be pinned; without it the copy only takes longer.
            with suppress(RuntimeError):
                return rows.pin_memory() if pinned else rows
            return rows

        self._read = in_order(read, len(batches), ahead=AHEAD)

    def take(self, rows: NDArray[np.integer]) -> Tensor | None:
        """The batch `rows` if it is the one that was expected next; else None, and nothing is lost."""
        if not self._expected or self._expected[0] is not rows:
            return None
        self._expected.popleft()
        return next(self._read)

    def close(self) -> None:
        self._read.close()
