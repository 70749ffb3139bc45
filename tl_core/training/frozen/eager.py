"""The frozen part of a backbone by torch, for devices on which the exported graph does not run. Needs torch.

It gives the same outputs in the same files as `onnx_runtime.run_graph`.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from tl_core.data.pace import Pace
from tl_core.documents.events import Event
from tl_core.documents.options import Level
from tl_core.models.build import Backbone
from tl_core.training.device import give_memory_back
from tl_core.training.frozen.onnx_runtime import EMBEDDING, Outputs, Pictures, Wanted, write_outputs
from tl_core.training.loop.augment import view
from tl_core.training.part_sizes import PartSize, in_parts

GPU_BATCH = 32
"""Images of the first batch; the next ones double as long as they fit the device's memory."""
PART_BYTES = 256_000_000
"""Bytes of the images of one part, and of its outputs, that the host's memory holds at once."""


@contextmanager
def full_precision() -> Iterator[None]:
    """A context in which a GPU computes float32 as such, without TF32, also where the environment makes TF32 PyTorch's default."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@dataclass(frozen=True)
class View:
    """The images `rows` of `pixels`, augmented as copy `number`; each is made when it is needed."""

    pixels: NDArray[np.uint8]
    rows: NDArray[np.integer]
    level: Level
    number: int
    seed: int

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice, /) -> NDArray[np.uint8]:
        return self.on("cpu", part).numpy()

    def on(self, device: str, part: slice) -> torch.Tensor:
        """The images `part` as uint8 (M, S, S, 3) on `device`."""
        rows = self.rows[part]
        pictures = torch.from_numpy(np.ascontiguousarray(self.pixels[rows])).to(device)
        changed = view(pictures, self.level, number=self.number, seed=self.seed, rows=rows.tolist())
        return changed.round().to(torch.uint8)


def run_eager(
    backbone: Backbone,
    frozen: int,
    device: str,
    wanted: Sequence[Wanted],
    pictures: Pictures,
    *,
    pace: Pace | None = None,
    before: int = 0,
) -> Generator[Event, None, None]:
    """Write the `wanted` outputs for all `pictures` in one pass: `EMBEDDING`, or by any other name the output of the first `frozen` stages.

    Events, errors, `pace` and `before` are those of `onnx_runtime.run_graph`; DeviceError: not even one image fits the device's memory.

    Batches are as large as fit the device's memory. All is computed in full precision, since the values stand for those of the exported
    graph, from which bfloat16 would differ by more than 1e-3.
    """
    backbone.to(device).eval()
    first, rest = backbone.prefix(frozen), [stage for _, stage in backbone.stages[frozen:]]

    def outputs(part: slice) -> Outputs:
        if isinstance(pictures, View):
            batch = pictures.on(device, part)
        else:
            batch = torch.from_numpy(np.array(pictures[part])).to(device)
        with torch.inference_mode(), full_precision():
            x = first(backbone.normalise(batch))
            by_name = {each.output: x for each in wanted}
            if EMBEDDING in by_name and frozen < len(backbone.stages):
                for stage in rest:
                    x = stage(x)
                by_name[EMBEDDING] = backbone.pool(x)
            return [by_name[each.output].float().cpu().numpy() for each in wanted]

    parts = in_parts(
        outputs,
        len(pictures),
        PartSize(GPU_BATCH, largest=PART_BYTES // max(1, pictures[:1].nbytes)),
        make_room=lambda: give_memory_back(torch.device(device)),
        may_double=lambda values: 2 * sum(some.nbytes for some in values) <= PART_BYTES,
    )
    yield from write_outputs(wanted, parts, len(pictures), pace=pace, before=before)
