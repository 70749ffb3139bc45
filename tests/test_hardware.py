"""What the machine says of itself: memory, processor, the GPU as its driver tells it; and what counts as the memory of a process."""

import mmap
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pynvml
import pytest

from tests.gpus import Driver, FakeGpu
from tl_core import hardware
from tl_core.hardware import PeakMemory


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Driver:
    """A machine with two GPUs, an old one and a new one."""
    made = Driver(FakeGpu("GPU-old", "Old GPU", 4.0), FakeGpu("GPU-new", "New GPU", 8.0))
    monkeypatch.setitem(sys.modules, "pynvml", made)
    hardware.machine.cache_clear()
    return made


def test_free_memory_is_that_of_the_gpu_that_is_named(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = [hardware.available_mb("cuda", gpu=gpu) for gpu in (None, "GPU-new", "GPU-gone")]
    assert found == [4000.0, 8000.0, None]


@pytest.mark.parametrize(
    ("visible", "names", "free"),
    [
        (None, ["Old GPU", "New GPU"], 4000.0),
        ("1", ["New GPU"], 8000.0),
        (" GPU-new , 0", ["New GPU", "Old GPU"], 8000.0),
        ("GPU-n", ["New GPU"], 8000.0),
        ("1,-1,0", ["New GPU"], 8000.0),
        ("GPU-", [], None),
        ("5", [], None),
        ("1,5,0", ["New GPU"], 8000.0),
        ("", [], None),
        ("-1", [], None),
    ],
)
def test_the_gpu_is_the_one_that_torch_would_take(
    driver: Driver,
    monkeypatch: pytest.MonkeyPatch,
    visible: str | None,
    names: list[str],
    free: float | None,
) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = [gpu.name for gpu in hardware.gpus()], hardware.machine("cuda"), hardware.available_mb("cuda")
    hardware.machine.cache_clear()
    assert found == (names, f"cuda: {names[0] if names else 'unknown'}", free)
    assert driver.open == 0, "the library is closed again"


def test_without_a_driver_no_gpu_is_claimed(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError(name)

    monkeypatch.setattr(pynvml, "CDLL", missing)
    monkeypatch.setattr(pynvml, "nvmlLib", None)
    assert (hardware.gpus(), hardware.driver_version(), hardware.available_mb("cuda")) == ([], ("", 0), None)


def test_of_a_gpu_that_is_split_each_instance_counts(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.cards[0].instances += [FakeGpu("MIG-a", "Slice A", 2.0), FakeGpu("MIG-b", "Slice B", 1.0)]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert [gpu.uuid for gpu in hardware.gpus()] == ["MIG-a", "MIG-b", "GPU-new"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-b")
    assert [gpu.name for gpu in hardware.gpus()] == ["Slice B"]
    assert hardware.available_mb("cuda") == 1000.0


def test_the_tightest_limit_of_the_control_groups_counts(tmp_path: Path) -> None:
    root, own = tmp_path / "cgroup", tmp_path / "own"
    inner = root / "pod" / "box"
    inner.mkdir(parents=True)
    own.write_text("0::/pod/box\n")
    (inner / "memory.max").write_text("max\n")
    (inner / "memory.current").write_text("1000000\n")
    assert hardware._container_free_mb(root, own) == float("inf")
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
    for quota, cores, threads in ((None, 4, {}), (2, 2, {"OMP_NUM_THREADS": "2"}), (4, 4, {}), (64, 4, {})):
        monkeypatch.setattr(hardware.os, "sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
        monkeypatch.setattr(hardware, "_container_cores", lambda quota=quota: quota)
        assert hardware.cores() == cores
        assert hardware.quota_threads() == threads


def test_free_memory_is_what_system_and_container_both_have(monkeypatch: pytest.MonkeyPatch) -> None:
    free = hardware.available_mb("cpu")
    assert free is not None
    assert 0 < free < hardware.total_mb()
    monkeypatch.setattr(hardware, "_container_free_mb", lambda: 12.0)
    assert hardware.available_mb("cpu") == 12.0
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


linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's own pages from a file's")


@linux
def test_what_was_taken_counts_and_stays_counted_when_it_is_free_again() -> None:
    peak = PeakMemory()
    before = peak.megabytes()
    taken = np.ones(300_000_000, dtype=np.uint8)
    during = peak.megabytes()
    del taken
    after = peak.megabytes()
    assert during > before + 200
    assert after >= during


@linux
def test_a_mapped_file_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "pixels").write_bytes(b"\1" * 100_000_000)
    peak = PeakMemory()
    before = peak.megabytes()
    with (tmp_path / "pixels").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[start] for start in range(0, len(mapped), mmap.PAGESIZE)) == -(-len(mapped) // mmap.PAGESIZE)
        assert peak.megabytes() < before + 50


@linux
def test_the_memory_of_children_counts_whichever_thread_started_them() -> None:
    before = PeakMemory().look()
    program = "taken = bytearray(b'x') * 300_000_000; print(len(taken), flush=True); input()"
    started: list[subprocess.Popen[bytes]] = []
    thread = threading.Thread(
        target=lambda: started.append(
            subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        )
    )
    thread.start()
    thread.join()
    (child,) = started
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"300000000\n"
        peak = PeakMemory()
        during = peak.look()
        child.communicate(b"\n")
    assert during > before + 200
    assert peak.look() < during - 200
    assert peak.megabytes() >= round(during, 1)
