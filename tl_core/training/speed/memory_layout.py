"""Which memory layout is faster for one network on this machine: a trial of a few batches, its outcome remembered. Needs torch.

The outcome goes into the spec and into the cache, so that the next run of the same kind takes the same layout even while
the machine is busy. Knows no data: the pictures are noise.
"""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import torch
from torch import nn

from tl_core.data.cache import Cache
from tl_core.hardware import machine
from tl_core.models.build import Backbone
from tl_core.training.frozen.features import computed_key
from tl_core.training.loop.inputs import out_of_memory, wait_for

CPU_BATCH = 8
ROUNDS = 2
"""Timed steps of each layout, after one that warms up; the quickest counts."""


def channels_last_is_faster(
    backbone: Backbone, *, frozen: int, image_size: int, device: str, bfloat16: bool, micro_batch: int, cache: Cache
) -> bool:
    """Whether a training step of what follows the first `frozen` stages is faster with channels last.

    Leaves `backbone` as it is. With `micro_batch` pictures on a GPU, fewer where memory does not do for them, and no trial
    where it does not do for one. The answer of an earlier trial on this machine is taken where the cache still has it.

    Raises:
        DiskFull: no space is left.
    """
    key = computed_key("layout", backbone.row.name, str(frozen), str(image_size), machine(device), str(bfloat16))

    def write(path: Path) -> None:
        count = CPU_BATCH if device == "cpu" else micro_batch
        seconds: Mapping[str, float] = _EVEN
        while count:
            try:
                seconds = {
                    layout: _seconds(backbone, frozen, image_size, device, bfloat16, layout, count)
                    for layout in _LAYOUTS
                }
                break
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
            count //= 2
        path.write_text(json.dumps({"channels_last": seconds["channels_last"] < seconds["contiguous"]}))

    def answer(path: Path) -> bool | None:
        try:
            return bool(json.loads(path.read_bytes())["channels_last"])
        except (OSError, ValueError, TypeError, KeyError):
            return None

    return bool(answer(cache.make("activations", f"layout-{key}", write, whole=lambda path: answer(path) is not None)))


_LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
_EVEN = MappingProxyType(dict.fromkeys(_LAYOUTS, 0.0))


def _seconds(backbone: Backbone, frozen: int, size: int, device: str, bfloat16: bool, layout: str, count: int) -> float:
    place = torch.device(device)
    # Training moves the statistics of batch norm; the copy takes that.
    copied = copy.deepcopy(backbone).to(place, memory_format=_LAYOUTS[layout]).eval()  # type: ignore[call-overload]
    network: nn.Module = copied.suffix(frozen)
    noise = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0)).to(place)
    with torch.no_grad():
        images = copied.prefix(frozen)(noise)
    if images.dim() == 4:
        images = images.contiguous(memory_format=_LAYOUTS[layout])
    network.train()
    quickest = float("inf")
    for attempt in range(ROUNDS + 1):
        wait_for(place)
        started = time.perf_counter()
        with torch.autocast(place.type, dtype=torch.bfloat16, enabled=bfloat16):
            outputs = network(images)
        torch.autograd.backward(outputs.float().square().mean())
        wait_for(place)
        elapsed = time.perf_counter() - started
        if attempt:
            quickest = min(quickest, elapsed)
    return quickest
