"""An exponential moving average of the weights (Polyak and Juditsky 1992), which is scored and kept in their place. Needs torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average:
    """Averages of tensors while they are trained."""

    def __init__(self, decay: float) -> None:
        """`decay` is the share of the average that remains at each step; it is smaller at first, so that the start is forgotten."""
        self._decay = decay
        self.steps = 0
        """Steps so far; with `averages`, all that `update` changes."""
        self.averages: list[Tensor] = []
        self._tensors: list[Tensor] = []

    def follow(self, tensors: Iterable[Tensor]) -> None:
        """Average `tensors`, too, each from its present value on."""
        known = {id(tensor) for tensor in self._tensors}
        new = [tensor for tensor in tensors if id(tensor) not in known]
        self._tensors += new
        self.averages += [tensor.detach().clone() for tensor in new]

    def by_tensor(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Each tensor that is averaged, with its average."""
        return zip(self._tensors, self.averages, strict=True)

    def update(self) -> None:
        """Move each average towards the present value of its tensor, by one step."""
        self.steps += 1
        decay = min(self._decay, (1 + self.steps) / (10 + self.steps))
        # On a GPU, all tensors move in a few launches of a kernel.
        get_ema_multi_avg_fn(decay)(self.averages, self._tensors, self.steps)  # type: ignore[no-untyped-call]

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
        for tensor, average in zip(self._tensors, self.averages, strict=True):
            kept = tensor.clone()
            tensor.copy_(average)
            average.copy_(kept)
