"""The events of a job, one JSON line each in events.jsonl.

Jobs are generators that yield events; samplers, threads beside a job, return them. The caller decides what becomes of them.
A new kind of event is a class here, named in `Event`.
"""

import time
from collections.abc import Callable, Generator
from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter

from tl_core.documents.base import Record

Stage = Literal["waiting", "reading", "preparing", "backbone", "features", "groups", "training", "export", "evaluation"]

_Result = TypeVar("_Result")


class _Event(Record):
    time: float = Field(default_factory=time.time)
    """Seconds since the epoch; never earlier than the time of the event before it."""


class StageStarted(_Event):
    """A stage of the job begins; the one before it has ended."""

    type: Literal["stage"] = "stage"
    stage: Stage
    title: str
    """For the user: "Reading pictures"."""


class Progress(_Event):
    """How much of the stage is done."""

    type: Literal["progress"] = "progress"
    stage: Stage
    done: int
    total: int
    seconds_left: float | None = None
    images_per_second: float | None = None


class EpochEnded(_Event):
    """One point of the learning curves."""

    type: Literal["epoch"] = "epoch"
    epoch: int
    """Number of the epoch, from 1; 0 is the head before the first step."""
    epochs: int
    train_loss: float | None
    train_accuracy: float | None
    val_loss: float
    val_accuracy: float
    learning_rate: float
    """Learning rate of the head at the end of the epoch."""
    best: bool
    """Whether the validation loss improved (best.safetensors was written)."""


class RegularisationTried(_Event):
    """One point of the fitted head's curve: validation accuracy against the inverse strength C."""

    type: Literal["regularisation"] = "regularisation"
    c: float
    train_accuracy: float
    val_accuracy: float
    val_loss: float
    best: bool


class Notice(_Event):
    """A sentence for the user: a retry, a departure from the spec, a decision."""

    type: Literal["notice"] = "notice"
    level: Literal["info", "warning"] = "info"
    message: str


class Resumed(_Event):
    """A job that was stopped before its end goes on: the first event of what follows."""

    type: Literal["resumed"] = "resumed"
    epoch: int | None
    """Training goes on after this epoch; what was said of later ones is said again. None: the job begins anew, and what was said before
    does not count."""
    seconds: dict[str, float]
    """Seconds by stage that it had taken before, where they count."""


class Ended(_Event):
    """The last event of a job."""

    type: Literal["ended"] = "ended"
    state: Literal["succeeded", "failed", "cancelled"]
    message: str


Event = Annotated[
    StageStarted | Progress | EpochEnded | RegularisationTried | Notice | Resumed | Ended,
    Field(discriminator="type"),
]
EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def drive(steps: Generator[Event, None, _Result], take: Callable[[Event], None]) -> _Result:
    """Give every event of `steps` to `take`; returns the generator's result."""
    while True:
        try:
            event = next(steps)
        except StopIteration as stop:
            result: _Result = stop.value
            return result
        take(event)
