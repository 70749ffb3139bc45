"""What counts as the memory of a job's process."""

import mmap
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tl_core.hardware import PeakMemory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's own pages from a file's")


def test_what_was_taken_counts_and_stays_counted_when_it_is_free_again() -> None:
    peak = PeakMemory()
    before = peak.megabytes()
    taken = np.ones(300_000_000, dtype=np.uint8)
    during = peak.megabytes()
    del taken
    after = peak.megabytes()
    assert during > before + 200
    assert after >= during


def test_a_mapped_file_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "pixels").write_bytes(b"\1" * 100_000_000)
    peak = PeakMemory()
    before = peak.megabytes()
    with (tmp_path / "pixels").open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        assert sum(mapped[start] for start in range(0, len(mapped), mmap.PAGESIZE)) == -(-len(mapped) // mmap.PAGESIZE)
        assert peak.megabytes() < before + 50


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
