"""Whether keeping the output of frozen stages pays, or computing it again in every epoch: timed on a few images. Needs torch.

On a CPU keeping is nearly always faster. On a GPU a large map may be computed again sooner than it is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tl_core.data.cache import Cache
from tl_core.documents.base import Record
from tl_core.documents.spec import TrainSpec
from tl_core.hardware import available_mb
from tl_core.models.build import Backbone
from tl_core.training.frozen.onnx_runtime import new_rows
from tl_core.training.loop.inputs import Inputs, fits_device, wait_for
from tl_core.training.timing import answer_key, remembered, timed

PICTURES = 8
GPU_PICTURES = 64
"""A GPU takes about as long for few images as for these."""
_DISK_SHARE = 0.7
"""Share of the free memory that files may fill; parts of larger files are read from the disk again in every epoch."""


class Costs(Record):
    """What keeping the frozen stages' output costs, and computing it again, in seconds per image."""

    once: float
    """Seconds to compute the output that is kept."""
    read: float
    """Seconds to read it back onto the device."""
    again: float
    """Seconds to compute it during training, reading and augmenting the pixels included."""

    def keeping(self, *, fresh: int, asked: int) -> float:
        """Seconds of a run that computes and keeps the output of `fresh` images, and reads kept outputs `asked` times, over all images and epochs."""
        return fresh * self.once + asked * self.read

    def recomputing(self, *, asked: int) -> float:
        """Seconds of a run that computes an image's output `asked` times, over all images and epochs."""
        return asked * self.again


def measured_costs(
    backbone: Backbone,
    pixels: NDArray[np.uint8],
    once: Callable[[NDArray[np.uint8]], NDArray[np.floating[Any]]],
    *,
    spec: TrainSpec,
    frozen: int,
    images: int,
    cache: Cache,
) -> Costs:
    """The costs of the first `frozen` stages of `backbone` in the run of `spec`, timed on the first of `pixels` (N, S, S, 3).

    `once` gives the stages' output for images (M, S, S, 3), computed in the way in which it would be kept; `images` is how many
    outputs would be kept in all. What was timed on this machine before is not timed again.

    Raises:
        DiskFull: no space is left.
    """
    device, level = torch.device(spec.device), spec.recipe.augmentation
    sample = np.ascontiguousarray(pixels[: PICTURES if device.type == "cpu" else GPU_PICTURES])
    values = once(sample).astype(np.float16)
    whole = values[:1].nbytes * images
    resident, cold = fits_device(whole, device), _from_disk(whole)

    def find(path: Path) -> Costs:
        backbone.to(device).eval()
        again = Inputs.of_pixels(backbone, sample, frozen=frozen, device=device, level=level, precision=spec.precision)
        return Costs(
            once=timed(lambda: once(sample)) / len(sample),
            read=_read_seconds(values, device, path, resident=resident, cold=cold) / len(values),
            again=batch_seconds(again, np.arange(len(sample)), changed=level != "none") / len(sample),
        )

    asked = backbone.network.name, frozen, pixels.shape[1], level, spec.precision, resident, cold
    return remembered(cache, answer_key("keeping", spec.device, *asked), Costs, find)


def batch_seconds(inputs: Inputs, rows: NDArray[np.integer], *, changed: bool) -> float:
    """Seconds until the batch `rows` of `inputs` is on its device; `changed`: augmented as in training."""
    generator = torch.Generator()

    def work() -> None:
        inputs.batch(rows, generator.manual_seed(0) if changed else None)
        wait_for(inputs.device)

    return timed(work)


def _read_seconds(
    values: NDArray[np.float16], device: torch.device, path: Path, *, resident: bool, cold: bool
) -> float:
    """Seconds to read `values` from the file `path`, which is written first; from the disk itself where `cold`."""
    rows = new_rows(path, values.shape, np.float16)
    rows[:] = values
    rows.flush()
    del rows
    inputs: list[Inputs] = []

    def open_file() -> None:
        inputs.clear()
        if cold and hasattr(os, "posix_fadvise"):
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        kept = np.load(path, mmap_mode="r", allow_pickle=False)
        inputs.append(Inputs(kept, None, None, device, resident=resident))

    def work() -> None:
        inputs[0].batch(np.arange(len(values)))
        wait_for(device)

    return timed(work, before=open_file)


def _from_disk(whole: int) -> bool:
    """Whether `whole` bytes do not fit the free memory, so that they are read from the disk."""
    free = available_mb("cpu")
    return free is not None and whole > _DISK_SHARE * free * 1e6
