"""Times two batches of a network and strategy on this machine, while no other job has the device."""

from __future__ import annotations

from collections.abc import Generator

from tl_core.documents.events import Event
from tl_core.documents.tasks import Measurement, MeasureSpec
from tl_core.runs.process.devices import computes, resolve_device
from tl_core.runs.store.folders import TaskFolder
from tl_core.runs.store.store import Store
from tl_core.training.speed.measure import measure


def answer(task: TaskFolder) -> Generator[Event, None, Measurement]:
    """What was measured; on a GPU, as its card computes. Raises DeviceError where the device is not here."""
    spec = task.spec_as(MeasureSpec)
    precision = computes(resolve_device(spec.device), spec.batch_size).precision
    return (yield from measure(spec.model_copy(update={"precision": precision}), Store.default().cache))
