"""The device of a training step: its memory, its precision, and tensors on their way to it. Needs torch."""

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tl_core.documents.spec import Precision
from tl_core.errors import DeviceError
from tl_core.hardware import keep_freed_memory

WAITING = ("cpu", "mps")
"""Devices to which a tensor is copied at once: on a CPU it stays where it is, and Metal may read memory that is used again by then."""
RESIDENT_SHARE = 0.4
"""Share of the device's free memory that the array may take."""
PART_BYTES = 2**28
"""Bytes that are copied to the device at a time, so that an array on the disk never is in the host's memory as a whole."""
_AUTOCAST: Mapping[Precision, torch.dtype] = {"bfloat16": torch.bfloat16, "float16": torch.float16}
"""Types in which torch computes what a network's precision leaves to it; in float32 it leaves nothing."""


def torch_device(name: str) -> torch.device:
    """The device `cpu`, `cuda` or `mps`. On a CPU, the process keeps freed memory for later steps.

    Raises:
        DeviceError: torch cannot use it; the driver may be older than PyTorch needs.
    """
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise DeviceError(
            "There is a GPU here, but PyTorch cannot use it; its driver may be too old. Mend that, or train on the "
            "processor: --device cpu, or start the app with CUDA_VISIBLE_DEVICES set to nothing."
        )
    if name == "cpu":
        keep_freed_memory()
    elif name == "cuda":
        # cuBLAS reads this once, before the first computation.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    return torch.device(name)


def resident_bytes(device: torch.device) -> float:
    """Bytes of arrays that may stay on the GPU `device` for a whole run; no limit is known of other devices."""
    if device.type != "cuda":
        return float("inf")
    # Memory that torch keeps for later is free, too.
    spare = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return RESIDENT_SHARE * (torch.cuda.mem_get_info(device)[0] + spare)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[object]:
    """A context in which networks on `device` compute in `precision`.

    In bfloat16 and float16, torch chooses the operations for which that is exact enough; weights stay float32.
    """
    if precision == "float32":
        return nullcontext()
    return torch.autocast(device.type, dtype=_AUTOCAST[precision])


def give_memory_back(device: torch.device) -> None:
    """Return the memory that torch keeps for later to the device, whose pieces may be too small for what is tried next."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()


def on_device(array: NDArray[Any], device: torch.device) -> Tensor:
    """A copy of `array` (N, ...) on `device`, copied in parts of at most `PART_BYTES`, or of one row where a row is larger."""
    whole = torch.empty(array.shape, dtype=torch.from_numpy(np.empty(0, dtype=array.dtype)).dtype, device=device)
    rows = max(1, PART_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        whole[start : start + rows] = torch.from_numpy(np.array(array[start : start + rows]))
    return whole


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
