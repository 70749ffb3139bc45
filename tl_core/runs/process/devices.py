"""Which device training would use here, found without torch. Knows nothing of jobs.

The driver is asked how many GPUs there are, and PyTorch's own version file whether it was built for them.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import re
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, cast

from tl_core.documents.spec import Precision
from tl_core.errors import DeviceError, UnknownName
from tl_core.hardware import gpu_generation

RealDevice = Literal["cpu", "cuda", "mps"]
DEVICES: tuple[str, ...] = ("auto", "cpu", "cuda", "mps")

BFLOAT16_SINCE = 8
"""Major compute capability (Ampere) of the first GPUs that compute in bfloat16; older ones imitate it, slowly."""


class Computes(NamedTuple):
    """What a run's spec says of how its device computes."""

    precision: Precision
    micro_batch: int


@cache
def computes(device: RealDevice) -> Computes:
    """How `device` computes here. On a processor half a batch at once takes half the memory."""
    if device == "cuda":
        return Computes("bfloat16" if gpu_generation() >= BFLOAT16_SINCE else "float32", 32)
    return Computes("float32", 16 if device == "cpu" else 32)


@cache
def detect_device() -> RealDevice:
    """The fastest device that PyTorch could use in a worker started from here."""
    if _built_for_cuda() and _nvidia_gpus() > 0:
        return "cuda"
    return "mps" if platform.system() == "Darwin" and platform.machine() == "arm64" else "cpu"


def resolve_device(wanted: str) -> RealDevice:
    """The device that `wanted` ("auto", "cpu", "cuda", "mps") stands for here.

    Raises:
        UnknownName: it is none of those.
        DeviceError: it is not on this machine.
    """
    if wanted not in DEVICES:
        raise UnknownName.among("device", wanted, DEVICES)
    here = detect_device()
    if wanted in ("auto", here):
        return here
    if wanted != "cpu":
        raise DeviceError(f"There is no {wanted!r} device here that PyTorch can use. Choose 'auto' or {here!r}.")
    return cast(RealDevice, wanted)


def _built_for_cuda() -> bool:
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return False
    try:
        text = (Path(found.origin).parent / "version.py").read_text()
    except OSError:
        return False
    return re.search(r"^cuda\b[^=\n]*=\s*['\"]", text, re.MULTILINE) is not None


def _nvidia_gpus() -> int:
    """GPUs that the driver knows and CUDA_VISIBLE_DEVICES leaves; makes no CUDA context."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and (not visible.strip() or visible.strip().startswith("-1")):
        return 0
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return 0
    count = ctypes.c_uint(0)
    if library.nvmlInit_v2() != 0:
        return 0
    try:
        return count.value if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) == 0 else 0
    finally:
        library.nvmlShutdown()
