"""Whether it pays to keep what frozen stages give: timed on a few of the pictures, remembered by machine. Needs torch.

On a CPU keeping nearly always wins; on a GPU a bulky map is computed again sooner than it is read. Knows arrays and a network;
knows no run, and writes nothing but what it times.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from tl_core.data.cache import Cache
from tl_core.documents.base import Record
from tl_core.documents.options import Level
from tl_core.documents.spec import Precision
from tl_core.hardware import available_mb, machine
from tl_core.models.build import Backbone
from tl_core.training.frozen.features import computed_key
from tl_core.training.frozen.onnx_runtime import new_rows
from tl_core.training.loop.inputs import Inputs, fits_device, wait_for

VERSION = 2
"""Of how it is timed: raise it with every change, so that what was timed before is not believed."""
PICTURES = 8
GPU_PICTURES = 64
"""A GPU takes about as long for a few."""
ROUNDS = 2
"""Times that each is timed, after one that warms up; the quickest counts."""
_DISK_SHARE = 0.7
"""Of the free memory that may hold files; of more, a part is read from the disk again in every epoch."""


class Costs(Record):
    """Seconds a picture."""

    once: float
    """For computing it to be kept."""
    read: float
    """For reading it back onto the device."""
    again: float
    """For computing it anew as training would, pixels read and changed included."""

    def keeping(self, *, fresh: int, asked: int) -> float:
        """Seconds of a run that computes `fresh` pictures to keep them and asks for a picture `asked` times in all."""
        return fresh * self.once + asked * self.read

    def recomputing(self, *, asked: int) -> float:
        return asked * self.again


def measured_costs(
    backbone: Backbone,
    pixels: NDArray[np.uint8],
    once: Callable[[NDArray[np.uint8]], NDArray[np.floating[Any]]],
    *,
    frozen: int,
    level: Level,
    images: int,
    device: str,
    precision: Precision,
    cache: Cache,
) -> Costs:
    """What the first `frozen` stages of `backbone` cost, timed on the first of `pixels` (N, S, S, 3), or as timed here before.

    `once` gives their output for pictures (M, S, S, 3) in the way in which it would be computed to be kept; `level` is that of
    the changes to pixels, `images` how many pictures would be kept in all, and `precision` that of computing anew.

    Raises:
        DiskFull: no space is left.
    """
    sample = np.ascontiguousarray(pixels[: PICTURES if device == "cpu" else GPU_PICTURES])
    values = once(sample).astype(np.float16)
    whole = values[:1].nbytes * images
    resident, cold = fits_device(whole, torch.device(device)), _from_disk(whole)
    place = computed_key(
        "keeping",
        str(VERSION),
        backbone.row.name,
        str(frozen),
        str(pixels.shape[1]),
        level,
        precision,
        machine(device),
        str(resident),
        str(cold),
    )

    def write(path: Path) -> None:
        found = Costs(
            once=_quickest(lambda: once(sample)) / len(sample),
            read=_read_seconds(values, device, path, resident=resident, cold=cold),
            again=_again_seconds(backbone, sample, frozen, level, device, precision),
        )
        path.write_text(found.model_dump_json())

    def answer(path: Path) -> Costs | None:
        try:
            return Costs.model_validate_json(path.read_bytes())
        except (OSError, ValidationError):
            return None

    kept = answer(cache.make("activations", f"keeping-{place}", write, whole=lambda path: answer(path) is not None))
    assert kept is not None
    return kept


def batch_seconds(inputs: Inputs, rows: NDArray[np.integer], *, changed: bool) -> float:
    """Seconds until a step has the batch `rows` of `inputs` on its device; `changed`: as in training."""
    generator = torch.Generator()

    def work() -> None:
        inputs.batch(rows, generator.manual_seed(0) if changed else None)
        wait_for(inputs.device)

    return _quickest(work)


def _again_seconds(
    backbone: Backbone, sample: NDArray[np.uint8], frozen: int, level: Level, device: str, precision: Precision
) -> float:
    place = torch.device(device)
    backbone.to(place).eval()
    inputs = Inputs.of_pixels(backbone, sample, frozen=frozen, device=place, level=level, precision=precision)
    return batch_seconds(inputs, np.arange(len(sample)), changed=level != "none") / len(sample)


def _read_seconds(values: NDArray[np.float16], device: str, path: Path, *, resident: bool, cold: bool) -> float:
    """From a file, which is written to `path`: from memory, or from the disk where `cold`."""
    rows = new_rows(path, values.shape, np.float16)
    rows[:] = values
    rows.flush()
    del rows

    def work(inputs: Inputs) -> float:
        begun = time.perf_counter()
        inputs.batch(np.arange(len(values)))
        wait_for(inputs.device)
        return time.perf_counter() - begun

    found = []
    for _ in range(ROUNDS + 1):
        if cold and hasattr(os, "posix_fadvise"):
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        kept = np.load(path, mmap_mode="r", allow_pickle=False)
        found.append(work(Inputs(kept, None, None, torch.device(device), resident=resident)))
        del kept
    return min(found[1:]) / len(values)


def _from_disk(whole: int) -> bool:
    """Whether `whole` bytes are more than the memory has room for, so that they are not all read from there."""
    free = available_mb("cpu")
    return free is not None and whole > _DISK_SHARE * free * 1e6


def _quickest(work: Callable[[], object]) -> float:
    found = []
    for _ in range(ROUNDS + 1):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return min(found[1:])
