"""What the allocator keeps between steps."""

from __future__ import annotations

import subprocess
import sys

import pytest

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
