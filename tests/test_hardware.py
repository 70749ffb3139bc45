"""What the machine says of itself: memory, processor, and the GPU as its driver tells it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest

from tl_core import hardware


class Driver:
    """`pynvml` on a machine with two GPUs, an old one and a new one."""

    NVMLError = pynvml.NVMLError
    names, generations, free = ("Old GPU", "New GPU"), (7, 9), (4_000_000_000, 8_000_000_000)

    def __init__(self) -> None:
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802 - the library's name
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        if index > 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return index

    def nvmlDeviceGetHandleByUUID(self, name: str) -> int:  # noqa: N802
        if name != "GPU-new":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return 1

    def nvmlDeviceGetName(self, handle: int) -> str:  # noqa: N802
        return self.names[handle]

    def nvmlDeviceGetCudaComputeCapability(self, handle: int) -> tuple[int, int]:  # noqa: N802
        return self.generations[handle], 0

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> SimpleNamespace:  # noqa: N802
        return SimpleNamespace(free=self.free[handle])


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    made = Driver()
    monkeypatch.setitem(sys.modules, "pynvml", made)
    hardware.machine.cache_clear()
    return made


@pytest.mark.parametrize(
    ("visible", "count", "name", "generation", "free"),
    [
        (None, 2, "Old GPU", 7, 4000.0),
        ("1", 1, "New GPU", 9, 8000.0),
        (" GPU-new , 0", 2, "New GPU", 9, 8000.0),
        ("1,-1,0", 1, "New GPU", 9, 8000.0),
        ("5", 1, "unknown", 0, None),
        ("", 0, "unknown", 0, None),
        ("-1", 0, "unknown", 0, None),
    ],
)
def test_the_gpu_is_the_one_that_torch_would_take(
    driver: Driver,
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    count: int,
    name: str,
    generation: int,
    free: float | None,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = hardware.gpu_count(), hardware.machine("cuda"), hardware.gpu_generation(), hardware.available_mb("cuda")
    hardware.machine.cache_clear()
    assert found == (count, f"cuda: {name}", generation, free)
    assert driver.open == 0, "the library is closed again"


def test_without_a_driver_no_gpu_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(pynvml, "CDLL", missing)
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    assert (hardware.gpu_count(), hardware.gpu_generation(), hardware.available_mb("cuda")) == (0, 0, None)


def test_the_tightest_limit_of_the_control_groups_counts(tmp_path: Path) -> None:
    root, own = tmp_path / "cgroup", tmp_path / "own"
    inner = root / "pod" / "box"
    inner.mkdir(parents=True)
    own.write_text("0::/pod/box\n")
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("1000000\n")
    assert hardware._container_free_mb(root, own) is None
    (root / "pod" / "memory.max").write_text("3000000000\n")
    (root / "pod" / "memory.current").write_text("1500000000\n")
    (root / "pod" / "memory.stat").write_text("anon 1\ninactive_file 500000000\n")
    assert hardware._container_free_mb(root, own) == pytest.approx(2000)
    old = root / "memory" / "job"
    old.mkdir(parents=True)
    own.write_text("4:cpu,memory:/job\n0::/pod/box\n")
    (old / "memory.limit_in_bytes").write_text("1200000000\n")
    (old / "memory.usage_in_bytes").write_text("200000000\n")
    assert hardware._container_free_mb(root, own) == pytest.approx(1000)
    (old / "memory.limit_in_bytes").write_text("9223372036854771712\n")
    assert hardware._container_free_mb(root, own) == pytest.approx(2000)


def test_the_tightest_quota_of_processor_time_counts_as_whole_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, own = tmp_path / "cgroup", tmp_path / "own"
    inner = root / "pod" / "box"
    inner.mkdir(parents=True)
    own.write_text("0::/pod/box\n")
    (inner / "cpu.max").write_text("max 100000\n")
    assert hardware._container_cores(root, own) is None
    (root / "pod" / "cpu.max").write_text("250000 100000\n")
    assert hardware._container_cores(root, own) == 3
    old = root / "cpu" / "job"
    old.mkdir(parents=True)
    own.write_text("4:cpu,memory:/job\n0::/pod/box\n")
    (old / "cpu.cfs_period_us").write_text("100000\n")
    (old / "cpu.cfs_quota_us").write_text("-1\n")
    assert hardware._container_cores(root, own) == 3
    (old / "cpu.cfs_quota_us").write_text("50000\n")
    assert hardware._container_cores(root, own) == 1
    for quota, cores in ((None, 4), (2, 2), (64, 4)):
        monkeypatch.setattr(hardware.os, "sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
        monkeypatch.setattr(hardware, "_container_cores", lambda quota=quota: quota)
        assert hardware.cores() == cores


def test_free_memory_is_what_the_system_says_or_nothing(tmp_path: Path) -> None:
    said = tmp_path / "meminfo"
    assert hardware._system_mb("MemAvailable", said) is None
    said.write_text("MemTotal: 16000000 kB\nMemAvailable:    2000000 kB\n")
    assert hardware._system_mb("MemAvailable", said) == pytest.approx(2048)
    assert hardware.available_mb("mps") is None
    assert hardware.machine("cpu").startswith("cpu: ")


_FAULTS = """
import resource
import numpy as np
from tl_core.hardware import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        np.ones(20_000_000, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

np.ones(40_000_000, dtype=np.uint8)
without = faults()
kept = keep_freed_memory()
np.ones(40_000_000, dtype=np.uint8)
print(int(kept), without, faults())
"""


def test_memory_that_was_freed_is_not_cleared_by_the_system_again() -> None:
    done = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True)
    kept, without, with_it = map(int, done.stdout.split())
    if not kept:
        pytest.skip("this system's allocator cannot be told")
    assert with_it < 100 < without
