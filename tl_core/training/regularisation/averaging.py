"""An exponential moving average of what learns (Polyak 1992), to be judged and kept in its place. Needs torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


class Average:
    """Follows tensors while they are trained."""

    def __init__(self, decay: float) -> None:
        """`decay` is the share of the average that stays at each step; early steps count more, or it would never arrive."""
        self._decay = decay
        self._steps = 0
        self._followed: list[tuple[Tensor, Tensor]] = []

    def follow(self, tensors: Iterable[Tensor]) -> None:
        """From now on, average these, too; each starts from where it stands."""
        known = {id(tensor) for tensor, _ in self._followed}
        self._followed += [(tensor, tensor.detach().clone()) for tensor in tensors if id(tensor) not in known]

    @torch.no_grad()
    def update(self) -> None:
        """Take one step into account."""
        self._steps += 1
        decay = min(self._decay, (1 + self._steps) / (10 + self._steps))
        for tensor, average in self._followed:
            average.lerp_(tensor, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The tensors are their averages inside, and what they were afterwards."""
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
