"""Regularisation in a training step: an exponential moving average of the weights, and images mixed with others of their batch. Needs torch."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torch.optim.swa_utils import get_ema_multi_avg_fn

from tl_core.training.device import to_device


class Average:
    """Averages of tensors while they are trained (Polyak and Juditsky 1992), which are scored and kept in their place."""

    def __init__(self, decay: float) -> None:
        """`decay` is the share of the average that remains at each step; it is smaller at first, so that the start is forgotten."""
        self._decay = decay
        self.steps = 0
        """Steps so far; with `averages`, all that `update` changes."""
        self.averages: list[Tensor] = []
        self._tensors: list[Tensor] = []

    def follow(self, tensors: Iterable[Tensor]) -> None:
        """Average `tensors`, too, each from its present value on."""
        followed = {id(tensor) for tensor in self._tensors}
        new = [tensor for tensor in tensors if id(tensor) not in followed]
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
            present = tensor.clone()
            tensor.copy_(average)
            average.copy_(present)


def mix(
    batch: Tensor, labels: Tensor, *, classes: int, mixup: float, cutmix: float, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """A mixed batch of the shape of `batch` (N, ...) and its targets (N, `classes`), the shares of the classes in each row.

    Each row has a partner and a share of its own. `mixup` and `cutmix` are alphas, 0 for off; with both, one of them is drawn for
    the batch. Mixup (arXiv 1710.09412) blends rows of any shape; on activations it is manifold mixup (arXiv 1806.05236). CutMix
    (arXiv 1905.04899) needs images (N, K, H, W). At least one alpha must be above 0.
    """
    count = len(batch)
    partners = to_device(torch.from_numpy(generator.permutation(count)), batch.device)
    cut = bool(cutmix) and (not mixup or generator.random() < 0.5)
    alpha = cutmix if cut else mixup
    shares = generator.beta(alpha, alpha, size=count)
    if cut:
        inside, shares = _boxes(shares, batch.shape[-2], batch.shape[-1], generator)
        mixed = torch.where(to_device(torch.from_numpy(inside), batch.device).unsqueeze(1), batch[partners], batch)
    share = to_device(torch.from_numpy(shares).float(), batch.device)
    if not cut:
        rest = share.to(batch.dtype).view(-1, *[1] * (batch.dim() - 1))
        mixed = rest * batch + (1 - rest) * batch[partners]
    truth = functional.one_hot(labels, classes).float()
    share = share.unsqueeze(1)
    return mixed, share * truth + (1 - share) * truth[partners]


def _boxes(
    shares: NDArray[np.float64], height: int, width: int, generator: np.random.Generator
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Where each image is replaced by its partner (N, height, width), and the share of it that remains."""
    side = np.sqrt(1 - shares)
    middle = generator.random((2, len(shares)))
    rows, columns = (
        np.abs((np.arange(length) + 0.5) / length - middle[axis][:, None]) <= side[:, None] / 2
        for axis, length in enumerate((height, width))
    )
    inside = rows[:, :, None] & columns[:, None, :]
    return inside, 1 - inside.mean(axis=(1, 2))
