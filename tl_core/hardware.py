"""What this machine is, and how much memory it has left: for estimates, found without torch.

Linux and NVIDIA's driver are asked; where neither answers, nothing is claimed.
"""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

_MB = 1e6
_NO_PIECES_OF_THEIR_OWN, _NEVER_TRIM = -4, -1
"""M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h."""
_NOT_LIMITED = 1 << 60
"""Bytes: cgroup v1 says "no limit" with a number about as large."""


def cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def machine(device: str) -> str:
    """Names what the speed of `device` (`cpu`, `cuda`, `mps`) depends on: the GPU, or the processor and its cores."""
    if device == "cuda":
        return f"cuda: {_gpu_name() or 'unknown'}"
    return f"{device}: {_processor()}, {cores()} cores"


def available_mb(device: str) -> float | None:
    """Memory, in megabytes, that a new job on `device` can have here now; None where that cannot be found out.

    On a CPU what the system could give, or what is left of the container's limit where that is less.
    """
    if device == "cuda":
        return _gpu_free_mb()
    if device != "cpu":
        return None
    left = [found for found in (_system_free_mb(), _container_free_mb()) if found is not None]
    return min(left, default=None)


def peak_memory_mb() -> float:
    """The largest memory that this process ever had resident, in megabytes."""
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


def _gpu_name() -> str | None:
    with _Driver() as driver:
        handle = driver.handle()
        if driver.library is None or handle is None:
            return None
        name = ctypes.create_string_buffer(96)
        failed = driver.library.nvmlDeviceGetName(handle, name, ctypes.c_uint(len(name)))
        return None if failed else name.value.decode(errors="replace")


def gpu_generation() -> int:
    """Major compute capability of the first GPU, 0 where there is none or the driver does not say."""
    with _Driver() as driver:
        handle = driver.handle()
        major, minor = ctypes.c_int(0), ctypes.c_int(0)
        if driver.library is None or handle is None:
            return 0
        failed = driver.library.nvmlDeviceGetCudaComputeCapability(handle, ctypes.byref(major), ctypes.byref(minor))
        return 0 if failed else major.value


def _gpu_free_mb() -> float | None:
    with _Driver() as driver:
        handle = driver.handle()
        if driver.library is None or handle is None:
            return None
        memory = _Memory()
        failed = driver.library.nvmlDeviceGetMemoryInfo(handle, ctypes.byref(memory))
        return None if failed else memory.free / _MB


class _Driver:
    """NVIDIA's management library while it is open; makes no CUDA context."""

    def __init__(self) -> None:
        self.library: ctypes.CDLL | None = None

    def __enter__(self) -> _Driver:
        with suppress(OSError):
            library = ctypes.CDLL("libnvidia-ml.so.1")
            if library.nvmlInit_v2() == 0:
                self.library = library
        return self

    def __exit__(self, *_: object) -> None:
        if self.library is not None:
            self.library.nvmlShutdown()

    def handle(self) -> ctypes.c_void_p | None:
        """The GPU that torch calls number 0."""
        if self.library is None:
            return None
        handle = ctypes.c_void_p()
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
        if first.isdigit():
            failed = self.library.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(int(first)), ctypes.byref(handle))
        else:
            failed = self.library.nvmlDeviceGetHandleByUUID(first.encode(), ctypes.byref(handle))
        return None if failed else handle
