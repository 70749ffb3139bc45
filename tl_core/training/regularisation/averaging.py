"""An exponential moving average of the weights (Polyak and Juditsky 1992), which is scored and kept in their place. Needs torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Average:
    """Averages of tensors while they are trained."""

    def __init__(self, decay: float) -> None:
        """`decay` is the share of the average that remains at each step; it is smaller at first, so that the start is forgotten."""
        self._decay = decay
        self._steps = 0
        self._followed: list[tuple[Tensor, Tensor]] = []

    def follow(self, tensors: Iterable[Tensor]) -> None:
        """Average `tensors`, too, each from its present value on."""
        known = {id(tensor) for tensor, _ in self._followed}
        self._followed += [(tensor, tensor.detach().clone()) for tensor in tensors if id(tensor) not in known]

    @torch.no_grad()
    def update(self) -> None:
        """Move each average towards the present value of its tensor, by one step."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for tensor, average in self._followed:
            average.lerp_(tensor, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """A context in which the tensors have the values of their averages."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for tensor, average in self._followed:
            kept = tensor.clone()
            tensor.copy_(average)
            average.copy_(kept)
