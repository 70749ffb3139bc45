"""Which memory layout is faster for one network on this machine: a trial of a few batches, its outcome remembered. Needs torch.

The outcome goes into the spec and into the cache, so that the next run of the same kind takes the same layout even while
the machine is busy. Knows no data: the pictures are noise.
"""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path

import torch
from torch import nn

from tl_core.data.cache import Cache
from tl_core.models.build import Backbone
from tl_core.training.features import computed_key

CPU_BATCH = 8
GPU_BATCH = 32
ROUNDS = 2
"""Timed steps of each layout, after one that warms up; the quickest counts."""


def channels_last_is_faster(
    backbone: Backbone, *, frozen: int, image_size: int, device: str, bfloat16: bool, cache: Cache
) -> bool:
    """Whether a training step of what follows the first `frozen` stages is faster with channels last.

    Leaves `backbone` as it is. The answer of an earlier trial on this machine is taken where the cache still has it.

    Raises:
        DiskFull: no space is left.
    """
    machine = torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    key = computed_key("layout", backbone.row.name, str(frozen), str(image_size), machine, str(bfloat16))

    def write(path: Path) -> None:
        seconds = {layout: _seconds(backbone, frozen, image_size, device, bfloat16, layout) for layout in _LAYOUTS}
        path.write_text(json.dumps({"channels_last": seconds["channels_last"] < seconds["contiguous"]}))

    def answer(path: Path) -> bool | None:
        try:
            return bool(json.loads(path.read_bytes())["channels_last"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    return bool(answer(cache.make("activations", f"layout-{key}", write, whole=lambda path: answer(path) is not None)))


_LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def _seconds(backbone: Backbone, frozen: int, size: int, device: str, bfloat16: bool, layout: str) -> float:
    place = torch.device(device)
    # Training moves the statistics of batch norm; the copy takes that.
    copied = copy.deepcopy(backbone).to(place, memory_format=_LAYOUTS[layout]).eval()  # type: ignore[call-overload]
    network: nn.Module = copied.suffix(frozen)
    count = GPU_BATCH if place.type == "cuda" else CPU_BATCH
    noise = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0)).to(place)
    with torch.no_grad():
        images = copied.prefix(frozen)(noise)
    if images.dim() == 4:
        images = images.contiguous(memory_format=_LAYOUTS[layout])
    network.train()
    quickest = float("inf")
    for attempt in range(ROUNDS + 1):
        _wait(place)
        started = time.perf_counter()
        with torch.autocast(place.type, dtype=torch.bfloat16, enabled=bfloat16):
            outputs = network(images)
        torch.autograd.backward(outputs.float().square().mean())
        _wait(place)
        elapsed = time.perf_counter() - started
        if attempt:
            quickest = min(quickest, elapsed)
    return quickest


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
