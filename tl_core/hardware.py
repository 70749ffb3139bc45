"""What this machine is and how much memory it has left, found without torch: from Linux and from NVIDIA's driver."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

_MB = 1e6
_NO_PIECES_OF_THEIR_OWN, _NEVER_TRIM = -4, -1
"""M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h."""
_NOT_LIMITED = 1 << 60
"""Bytes: cgroup v1 says "no limit" with a number about as large."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def machine(device: str) -> str:
    """A name for what the speed of `device` (`cpu`, `cuda`, `mps`) depends on: the GPU, or the processor and its cores."""
    if device == "cuda":
        return f"cuda: {_gpu_name()}"
    return f"{device}: {_processor()}, {cores()} cores"


def available_mb(device: str) -> float | None:
    """Memory that a new job on `device` can have here now, megabytes; None where that cannot be found out.

    On a CPU it is what the system can give, or what is left of the container's limit where that is less.
    """
    if device == "cuda":
        return _gpu_free_mb()
    if device != "cpu":
        return None
    left = [found for found in (_system_free_mb(), _container_free_mb()) if found is not None]
    return min(left, default=None)


def gpu_count() -> int:
    """GPUs that this process may use; 0 where there is none or the driver does not say."""
    visible, count = _visible_gpus(), ctypes.c_uint(0)
    with _driver() as driver:
        if visible == [] or driver is None or driver.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
            return 0
    return count.value if visible is None else min(count.value, len(visible))


def gpu_generation() -> int:
    """Major compute capability of the first GPU; 0 where there is none or the driver does not say."""
    major, minor = ctypes.c_int(0), ctypes.c_int(0)
    _ask_gpu("nvmlDeviceGetCudaComputeCapability", ctypes.byref(major), ctypes.byref(minor))
    return major.value


def peak_resident_mb() -> float:
    """The largest memory that this process ever had resident, megabytes; pages of mapped files count.

    Without those pages, `runs.process.memory.PeakMemory` counts.
    """
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / _MB if sys.platform == "darwin" else peak * 1024 / _MB


@cache
def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for what it takes next; whether its allocator can be told so.

    A training step takes and frees the same gigabyte again and again. glibc gives large pieces back to the system each time,
    which clears every page of them when they are taken anew: with it, steps of a whole network take 1.3 to 1.6 times as long.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_NO_PIECES_OF_THEIR_OWN, 0)) and bool(mallopt(_NEVER_TRIM, -1))


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _system_free_mb(meminfo: Path = Path("/proc/meminfo")) -> float | None:
    with suppress(OSError, ValueError, IndexError):
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024 / _MB
    return None


def _container_free_mb(root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")) -> float | None:
    """What is left of the tightest limit that this process's control groups set, of either version."""
    left: list[float] = []
    with suppress(OSError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                left += _below(root, path, ("memory.max", "memory.current", "inactive_file"))
            elif "memory" in controllers.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                left += _below(root / "memory", path, names)
    return min(left, default=None)


def _below(root: Path, path: str, names: tuple[str, str, str]) -> list[float]:
    """Megabytes left in the group `path` and in each above it; inside a container the own group is often the root."""
    groups = [root / part for part in (Path(path.lstrip("/")), *Path(path.lstrip("/")).parents)]
    found = []
    for group in dict.fromkeys(groups):
        with suppress(OSError, ValueError):
            limit = int((group / names[0]).read_text())
            used = int((group / names[1]).read_text())
            if limit < _NOT_LIMITED:
                # Pages of files that nobody needs now are given back when memory is asked for.
                found.append(max(0.0, (limit - used + _statistic(group / "memory.stat", names[2])) / _MB))
    return found


def _statistic(file: Path, name: str) -> int:
    with suppress(OSError, ValueError):
        for line in file.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def _gpu_name() -> str:
    name = ctypes.create_string_buffer(96)
    _ask_gpu("nvmlDeviceGetName", name, ctypes.c_uint(len(name)))
    return name.value.decode(errors="replace") or "unknown"


def _gpu_free_mb() -> float | None:
    memory = _Memory()
    return memory.free / _MB if _ask_gpu("nvmlDeviceGetMemoryInfo", ctypes.byref(memory)) else None


def _visible_gpus() -> list[str] | None:
    """Numbers or ids in CUDA_VISIBLE_DEVICES, up to the first -1, which ends the list; None where every GPU is visible."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return None
    return list(takewhile(lambda gpu: gpu and gpu != "-1", map(str.strip, visible.split(","))))


def _ask_gpu(question: str, *answer: Any) -> bool:
    """Let the driver answer `question` about the GPU that torch calls number 0 in `answer`; whether it did."""
    visible, handle = _visible_gpus(), ctypes.c_void_p()
    with _driver() as driver:
        if visible == [] or driver is None:
            return False
        first = visible[0] if visible else "0"
        if first.isdigit():
            failed = driver.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(first)), ctypes.byref(handle))
        else:
            failed = driver.nvmlDeviceGetHandleByUUID(first.encode(), ctypes.byref(handle))
        return not failed and getattr(driver, question)(handle, *answer) == 0


@contextmanager
def _driver() -> Iterator[ctypes.CDLL | None]:
    """NVIDIA's management library, opened without a CUDA context; None where there is none."""
    try:
        driver = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        driver = None
    if driver is None or driver.nvmlInit_v2() != 0:
        yield None
        return
    try:
        yield driver
    finally:
        driver.nvmlShutdown()
