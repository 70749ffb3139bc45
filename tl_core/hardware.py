"""What this machine is and how much memory it has left, found without torch: from the system, its control groups and NVIDIA's driver."""

import ctypes
import math
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

import psutil

_MB = 1e6
_NO_PIECES_OF_THEIR_OWN, _NEVER_TRIM = -4, -1
"""M_MMAP_MAX and M_TRIM_THRESHOLD of malloc.h."""
_NOT_LIMITED = 1 << 60
"""Bytes: cgroup v1 says "no limit" with a number about as large."""
_CGROUPS, _OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_LISTED_EVERY = 1.0
"""Seconds for which a list of this process's children is used: to make it, all processes of the machine are looked at."""
_MEMORY = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("memory.max", "memory.current", "inactive_file"),
}
"""By version of the control groups: the files of limit and use, and the line of memory.stat that can be given back."""
_CPU = {1: ("cpu.cfs_quota_us", "cpu.cfs_period_us"), 2: ("cpu.max",)}
"""By version of the control groups: the files that hold the quota of processor time and its period, in microseconds."""


def cores() -> int:
    """Processor cores that this process may use: not more than the time that the container may take amounts to."""
    mine = _own_cores()
    return min(mine, _container_cores() or mine)


def quota_threads() -> dict[str, str]:
    """The variable by which OpenMP and BLAS start no more threads than the container's quota has cores; empty where that takes none away."""
    return {"OMP_NUM_THREADS": str(cores())} if cores() < _own_cores() else {}


def _own_cores() -> int:
    """Processor cores on which the system lets this process run."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def machine(device: str) -> str:
    """A name for what the speed of `device` (`cpu`, `cuda`, `mps`) depends on: the GPU, or the processor and its cores."""
    if device == "cuda":
        return gpu_machine(ask_gpu("nvmlDeviceGetName") or "unknown")
    processor = _said(Path("/proc/cpuinfo"), "model name") or platform.processor() or platform.machine()
    return f"{device}: {processor}, {cores()} cores"


def gpu_machine(name: str) -> str:
    """What `machine` says of a GPU of that name."""
    return f"cuda: {name}"


def available_mb(device: str, *, gpu: str | None = None) -> float | None:
    """Memory that a new job on `device` can have here now, megabytes; None where that cannot be found out.

    On a CPU it is what the system can give, or what is left of the container's limit where that is less. Of several GPUs it is that of
    the one whose id is `gpu`, or of the first.
    """
    if device == "cuda":
        memory = ask_gpu("nvmlDeviceGetMemoryInfo", gpu=gpu)
        return memory.free / _MB if memory else None
    if device != "cpu":
        return None
    return min(float(psutil.virtual_memory().available) / _MB, _container_free_mb())


def total_mb() -> float:
    """Memory of this machine, or of the container where that may have less, megabytes."""
    return min([float(psutil.virtual_memory().total) / _MB, *(limit for limit, _ in _container_limits())])


class Gpu(NamedTuple):
    """A GPU, or one instance of a GPU that is split (MIG)."""

    uuid: str
    """Its id for the driver and for CUDA_VISIBLE_DEVICES: `GPU-...` or `MIG-...`."""
    name: str


def gpus() -> list[Gpu]:
    """The GPUs that this process may use, in the order of CUDA_VISIBLE_DEVICES, else of the PCI bus; empty where the driver names none.

    Numbers in CUDA_VISIBLE_DEVICES are read in the order of the PCI bus.
    """

    def ask(driver: Any) -> list[Gpu]:
        return [Gpu(driver.nvmlDeviceGetUUID(handle), driver.nvmlDeviceGetName(handle)) for handle in _handles(driver)]

    return _ask_driver(ask) or []


def use_gpu(uuid: str) -> None:
    """Let this process, which has not imported torch yet, see no other GPU than that one."""
    os.environ |= {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", "CUDA_VISIBLE_DEVICES": uuid}
    machine.cache_clear()


def driver_version() -> tuple[str, int]:
    """The version of NVIDIA's driver, such as "535.104.05", and the newest CUDA that it can run, such as 12020 for 12.2; ("", 0) if none."""
    return _ask_driver(
        lambda driver: (driver.nvmlSystemGetDriverVersion(), driver.nvmlSystemGetCudaDriverVersion())
    ) or ("", 0)


def boot_id() -> str:
    """A text that is another one after each start of the machine; empty where the system has none."""
    with suppress(OSError):
        return _BOOT_ID.read_text().strip()
    return ""


class PeakMemory:
    """The largest resident memory of this process and its children without mapped files, of all readings.

    Mapped files, such as the pixels of a data set, do not count: the system takes their pages back when memory is needed.
    Only Linux tells them apart; elsewhere everything resident counts.
    """

    def __init__(self) -> None:
        self._most = 0
        self._children: list[psutil.Process] = []
        self._listed = float("-inf")

    def look(self) -> float:
        """Take a reading, megabytes."""
        process = psutil.Process()
        if time.monotonic() - self._listed >= _LISTED_EVERY:
            self._children, self._listed = process.children(), time.monotonic()
        now = sum(map(_unmapped, (process, *self._children)))
        self._most = max(self._most, now)
        return now / _MB

    def megabytes(self) -> float:
        """The largest so far, megabytes."""
        self.look()
        return round(self._most / _MB, 1)


@cache
def keep_freed_memory() -> bool:
    """Tell the allocator of this process to keep freed memory for later requests; returns whether it accepts that.

    A training step takes and frees the same gigabyte again and again. glibc gives large pieces back to the system each time,
    which clears every page of them when they are taken anew: with it, steps of a whole network take 1.3 to 1.6 times as long.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_NO_PIECES_OF_THEIR_OWN, 0)) and bool(mallopt(_NEVER_TRIM, -1))


def _unmapped(process: psutil.Process) -> int:
    """Bytes that `process` has resident, without mapped files; 0 where it has ended."""
    with suppress(psutil.Error):
        memory = process.memory_info()
        return int(memory.rss - getattr(memory, "shared", 0))
    return 0


def _said(file: Path, name: str) -> str:
    """What `file` says in the line that begins with `name`; empty where there is no such line."""
    with suppress(OSError):
        for line in file.read_text(errors="replace").splitlines():
            if line.startswith(name):
                return line.removeprefix(name).lstrip("\t :").rstrip()
    return ""


def _container_free_mb(root: Path = _CGROUPS, groups: Path = _OWN_GROUPS) -> float:
    """What is left of the tightest memory limit that this process's control groups set, of either version; infinite where none is set."""
    return min((max(0.0, limit - used) for limit, used in _container_limits(root, groups)), default=float("inf"))


def _container_limits(root: Path = _CGROUPS, groups: Path = _OWN_GROUPS) -> list[tuple[float, float]]:
    """Each memory limit that this process's control groups set, of either version, and what is used of it, megabytes."""
    limits: list[tuple[float, float]] = []
    for version, group in _groups("memory", root, groups):
        limit_name, used_name, cache_name = _MEMORY[version]
        with suppress(OSError, ValueError):
            limit = int((group / limit_name).read_text())
            used = int((group / used_name).read_text())
            if limit < _NOT_LIMITED:
                # Pages of files that nobody needs now are given back when memory is asked for.
                given_back = int(_said(group / "memory.stat", cache_name) or 0)
                limits.append((limit / _MB, (used - given_back) / _MB))
    return limits


def _container_cores(root: Path = _CGROUPS, groups: Path = _OWN_GROUPS) -> int | None:
    """Cores, rounded up, in the tightest quota of processor time that this process's control groups set, of either version."""
    quotas: list[int] = []
    for version, group in _groups("cpu", root, groups):
        with suppress(OSError, ValueError):
            # "max" and -1 mean that there is no quota; both are passed over.
            quota, period = (int(word) for name in _CPU[version] for word in (group / name).read_text().split())
            if quota > 0:
                quotas.append(math.ceil(quota / period))
    return min(quotas, default=None)


def _groups(controller: str, root: Path, listed: Path) -> list[tuple[int, Path]]:
    """Version and folder of each control group of `controller` that this process is in, and of each group above it.

    Inside a container its own group is often the root.
    """
    places: list[tuple[int, Path]] = []
    with suppress(OSError):
        for line in listed.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or controller in controllers.split(","):
                version, top = (1, root / controller) if controllers else (2, root)
                inner = Path(path.lstrip("/"))
                places += [(version, top / part) for part in dict.fromkeys((inner, *inner.parents))]
    return places


def _visible_gpus() -> list[str] | None:
    """Numbers or ids in CUDA_VISIBLE_DEVICES, up to the first -1, which ends the list; None where every GPU is visible."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return None
    return list(takewhile(lambda gpu: gpu and gpu != "-1", map(str.strip, visible.split(","))))


def ask_gpu(question: str, *more: Any, gpu: str | None = None) -> Any:
    """What the driver says of the GPU that torch calls number 0, or of the one whose id is `gpu`; None where there is none.

    `question` is a function of `pynvml` whose first argument is the GPU; `more` are its other arguments.
    """

    def ask(driver: Any) -> Any:
        asked = (handle for handle in _handles(driver) if gpu in (None, driver.nvmlDeviceGetUUID(handle)))
        first = next(asked, None)
        return None if first is None else getattr(driver, question)(first, *more)

    return _ask_driver(ask)


def _handles(driver: Any) -> Iterator[Any]:
    """The driver's handles of the GPUs that this process may use; of a GPU that is split, those of its instances."""
    cards = [driver.nvmlDeviceGetHandleByIndex(number) for number in range(driver.nvmlDeviceGetCount())]
    visible = _visible_gpus()
    for entry in map(str, range(len(cards))) if visible is None else visible:
        if entry.startswith("MIG-"):
            yield driver.nvmlDeviceGetHandleByUUID(entry)
            continue
        # CUDA, too, takes the first characters of an id for the whole, and reads no further than the first name that it does not know.
        named = [card for card in cards if driver.nvmlDeviceGetUUID(card).startswith(entry)]
        if entry.isdigit():
            named = cards[int(entry) : int(entry) + 1]
        if len(named) != 1:
            return
        yield from _instances(driver, named[0])


def _instances(driver: Any, card: Any) -> Iterator[Any]:
    """The instances of `card` where it is split, else the card itself."""
    try:
        split, _ = driver.nvmlDeviceGetMigMode(card)
    except driver.NVMLError:
        # Most GPUs cannot be split.
        split = 0
    if not split:
        yield card
        return
    for number in range(driver.nvmlDeviceGetMaxMigDeviceCount(card)):
        with suppress(driver.NVMLError):
            yield driver.nvmlDeviceGetMigDeviceHandleByIndex(card, number)


def _ask_driver(question: Callable[[Any], Any]) -> Any:
    """What `question` finds in NVIDIA's management library, opened without a CUDA context; None where it is not here or fails."""
    import pynvml

    with suppress(pynvml.NVMLError):
        pynvml.nvmlInit()
        try:
            return question(pynvml)
        finally:
            pynvml.nvmlShutdown()
    return None
