"""Which device training uses here, and how it computes, found without torch: PyTorch's version file says what it was built for."""

from __future__ import annotations

import importlib.util
import platform
import re
from functools import cache
from pathlib import Path
from typing import Literal, NamedTuple, cast

from tl_core.documents.options import Device
from tl_core.documents.spec import Precision
from tl_core.errors import DeviceError, UnknownName
from tl_core.hardware import gpu_count, gpu_generation

RealDevice = Literal["cpu", "cuda", "mps"]
DEVICES: tuple[str, ...] = ("auto", "cpu", "cuda", "mps")

BFLOAT16_SINCE = 8
"""Major compute capability (Ampere) of the first GPUs that compute in bfloat16; older ones imitate it, slowly."""


class Computes(NamedTuple):
    """The fields of a run's spec that follow from its device."""

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
    if _built_for_cuda() and gpu_count() > 0:
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


def expected_device(wanted: Device) -> RealDevice:
    """The device to expect before a job runs: for "auto" the one that is here; another one need not be here, but where jobs run."""
    return detect_device() if wanted == "auto" else wanted


def _built_for_cuda() -> bool:
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return False
    try:
        text = (Path(found.origin).parent / "version.py").read_text()
    except OSError:
        return False
    return re.search(r"^cuda\b[^=\n]*=\s*['\"]", text, re.MULTILINE) is not None
