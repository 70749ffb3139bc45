"""Mixup and CutMix: images mixed with others of their batch, and their mixed labels. Needs torch."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tl_core.training.transfer import to_device


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
    own = to_device(torch.from_numpy(shares).float(), batch.device)
    if not cut:
        rest = own.to(batch.dtype).view(-1, *[1] * (batch.dim() - 1))
        mixed = rest * batch + (1 - rest) * batch[partners]
    truth = functional.one_hot(labels, classes).float()
    own = own.unsqueeze(1)
    return mixed, own * truth + (1 - own) * truth[partners]


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
