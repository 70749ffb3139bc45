"""The checkpoint of a run: written after epochs, at a bounded price, and read when the run goes on. Needs torch.

A checkpoint holds what learns and what belongs to it, not the frozen stages; the best state is in a file of its own.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import MappingProxyType

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from tl_core import settings
from tl_core.disk import appearing, in_words, spare
from tl_core.documents.arrays import ENTRY, Checkpoint
from tl_core.documents.events import Event, Notice
from tl_core.errors import DiskFull, DocumentError, GraftError, memory_ran_out
from tl_core.runs.process.recorder import disk_full
from tl_core.runs.store.folders import UNUSABLE_CHECKPOINT, RunFolder, StartState
from tl_core.training.loop.fit import Reached

SHARE = 0.05
"""The largest part of the time of training that is spent on writing checkpoints, the first one apart."""


class Checkpoints:
    """Writes the checkpoint of one run, each in place of the one before."""

    def __init__(self, run: RunFolder, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._run, self._clock = run, clock
        self._due = float("-inf")
        self._failed = False

    def keep(self, state: Callable[[], Reached]) -> Iterator[Event]:
        """Write the state, unless that was done so recently that it would take more than `SHARE` of the time.

        Where it cannot be written, a notice says so once and training goes on.
        """
        begun = self._clock()
        if begun < self._due:
            return
        try:
            self._write(state())
        except Exception as error:
            if not isinstance(error, (GraftError, OSError, SafetensorError)) and not memory_ran_out(error):
                raise
            if not self._failed:
                self._failed = True
                yield Notice(level="warning", message=self._cannot(error))
        ended = self._clock()
        self._due = ended + (ended - begun) * (1 / SHARE - 1)

    def _write(self, reached: Reached) -> None:
        # PyTorch lays arrays of some networks out in another order.
        tensors = {name: tensor.contiguous() for name, tensor in reached.tensors.items()}
        size, path = sum(tensor.nbytes for tensor in tensors.values()), self._run.checkpoint_file
        if spare(path.parent, settings.current().free_bytes) < size:
            raise DiskFull(f"The disk has no room for the {in_words(size)} of a checkpoint")
        with appearing(path, path.name) as temporary:
            save_file(tensors, temporary, metadata={ENTRY: reached.checkpoint.model_dump_json()})
            # The rename must not reach the disk before the content, or a power cut would leave an empty file.
            descriptor = os.open(temporary, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def _cannot(self, error: Exception) -> str:
        why = "the disk is full" if disk_full(error) else " ".join(str(error).split())
        after = "it can only be started again"
        with suppress(GraftError):
            after = f"it can only go on from epoch {self._run.checkpoint().epoch}"
        return f"No checkpoint can be written ({why}). Training goes on; if it is interrupted now, {after}."


UNUSABLE: Mapping[StartState, str] = MappingProxyType(
    {
        "best": "The best state of this run cannot be used ({problem}), so it cannot be finished. Start it again.",
        "checkpoint": UNUSABLE_CHECKPOINT,
        "delivered": "What the run delivered that this one trains on cannot be used ({problem}). Open that run and train on from it again.",
    }
)
"""What is said where the file of a state is damaged, or of another network."""


def tensors(run: RunFolder, state: StartState) -> dict[str, torch.Tensor]:
    """The tensors of a state that `run` may start from. Raises DocumentError where its file cannot be read, for example after a power cut."""
    file = {"best": run.best, "checkpoint": run.checkpoint_file, "delivered": run.start_file}[state]
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise DocumentError(UNUSABLE[state].format(problem=f"{error}.")) from error


def differences(before: Checkpoint, device: str) -> str | None:
    """What is not as it was when the checkpoint was written, a sentence for the user; None where all is."""
    changed = []
    if before.device != device:
        changed.append(f"on {device!r} (before: {before.device!r})")
    if before.torch != torch.__version__:
        changed.append(f"with PyTorch {torch.__version__} (before: {before.torch})")
    if not changed:
        return None
    return f"It goes on {' and '.join(changed)}, so its figures may differ a little from those of a run without the interruption."
