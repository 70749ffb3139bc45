"""Small tensors on their way to the device of a training step, which does not wait for them. Needs torch."""

from __future__ import annotations

from contextlib import suppress

import torch
from torch import Tensor

WAITING = ("cpu", "mps")
"""Devices to which a tensor is copied at once: on a CPU it stays where it is, and Metal may read memory that is used again by then."""


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor`, which is on the CPU, on `device`; a GPU fetches it from pinned memory while the caller goes on.

    A copy from other memory would wait until the GPU has done everything that it was given before.
    """
    if device.type in WAITING:
        return tensor.to(device)
    # The host may limit pinned memory; without it, copying only takes longer.
    with suppress(RuntimeError):
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
