"""Which memory layout is faster for one network on this machine, found with a few training steps on noise. Needs torch.

The answer is kept, so that a later run of the same kind takes the same layout even while the machine is busy.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn

from tl_core.data.cache import Cache
from tl_core.documents.spec import TrainSpec
from tl_core.errors import memory_ran_out
from tl_core.models.build import Backbone
from tl_core.training.loop.inputs import autocast, wait_for
from tl_core.training.strategies.what_learns import BATCH_NORMS
from tl_core.training.timing import answer_key, remembered, timed

CPU_BATCH, GPU_BATCH = 8, 32
"""Images in a timed step on a CPU, and on other devices."""


def channels_last_is_faster(backbone: Backbone, spec: TrainSpec, *, frozen: int, cache: Cache) -> bool:
    """Whether a training step of `spec` through what follows the first `frozen` stages is faster with channels last.

    `backbone` is not changed. Where the device's memory is too small for the images of a timed step, fewer are used; where it is too
    small for one, the answer is no.

    Raises:
        DiskFull: no space is left.
    """

    def find(_: Path) -> bool:
        count = CPU_BATCH if spec.device == "cpu" else min(GPU_BATCH, spec.micro_batch, spec.batch_size)
        while count:
            try:
                contiguous, last = (_seconds(backbone, spec, frozen, layout, count) for layout in _LAYOUTS)
                return last < contiguous
            except RuntimeError as error:
                if not memory_ran_out(error):
                    raise
            count //= 2
        return False

    key = answer_key("layout", spec.device, backbone.network.name, frozen, spec.image_size, spec.precision)
    return remembered(cache, key, bool, find)


_LAYOUTS = (torch.contiguous_format, torch.channels_last)


def _seconds(backbone: Backbone, spec: TrainSpec, frozen: int, layout: torch.memory_format, count: int) -> float:
    """Seconds of one forward and backward pass of `count` images."""
    device, size = torch.device(spec.device), spec.image_size
    # Training changes the statistics of batch norm, so a copy is trained.
    copied = copy.deepcopy(backbone).to(device, memory_format=layout).eval()  # type: ignore[call-overload]
    learning: nn.Module = copied.suffix(frozen)
    noise = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.no_grad():
        images = copied.prefix(frozen)(noise)
    if images.dim() == 4:
        images = images.contiguous(memory_format=layout)
    learning.train()
    if count == 1:
        # A single image has no batch statistics.
        for module in learning.modules():
            if isinstance(module, BATCH_NORMS):
                module.eval()

    def step() -> None:
        with autocast(device, spec.precision):
            outputs = learning(images)
        torch.autograd.backward(outputs.float().square().mean())
        wait_for(device)

    return timed(step)
