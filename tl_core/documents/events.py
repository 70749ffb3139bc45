"""What is said of a job at work: its events, one JSON line each in events.jsonl, and its state, status.json.

Jobs are generators that yield events; samplers, threads beside a job, return them. The caller decides what becomes of them.
A new kind of event is a class here, named in `Event`. Only the worker of a job writes its state; what a dead worker could not write is
derived by the reader.
"""

import time
from collections.abc import Callable, Generator
from typing import Annotated, Literal, TypeVar

from pydantic import Field, TypeAdapter

from tl_core.documents.base import Document, Record

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


State = Literal["queued", "running", "cancelling", "cancelled", "succeeded", "failed", "interrupted"]
STOPPED: frozenset[str] = frozenset({"cancelled", "failed", "interrupted"})
"""States of a job that ended before its end."""
FINAL: frozenset[str] = STOPPED | {"succeeded"}


class Failure(Record):
    """Why a job failed."""

    kind: str
    """The `kind` of a `GraftError`; `bug` for any other exception."""
    message: str
    """A sentence that says what to do."""
    exit_code: int


class UsedGpu(Record):
    """The GPU that a job works or worked on."""

    name: str
    """As the driver calls it: `NVIDIA L4`."""
    uuid: str
    """Its id for the driver: `GPU-...` or `MIG-...`."""
    one_of_several: bool = False
    """Whether the machine has more GPUs of this name that work, so that only the id tells which one it was."""

    def __str__(self) -> str:
        return f"{self.name} ({self.uuid})" if self.one_of_several else self.name


class Status(Document):
    """The state of a job, and what it took so far."""

    state: State
    stage: Stage | None = None
    started: float | None = None
    ended: float | None = None
    """Start and end, seconds since the epoch."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """Seconds by stage: ingest, features, training, export, evaluation, total."""
    peak_memory_mb: float | None = None
    """The largest memory of the worker at one time, megabytes; mapped files do not count."""
    device: str | None = None
    """The device that the job has or had, by the queue that it joined; None for jobs that need none."""
    gpu: UsedGpu | None = None
    """The GPU that the job works or worked on; None for other devices."""
    failure: Failure | None = None
    reason: str | None = None
    """Why it ended as it did, a sentence, where its race stopped it, or where it ended with its best state before its end."""
    resumed: Resumed | None = None
    """Where the job went on after it had been stopped: the event that it then began with. `seconds` count what it took before, too."""

    @property
    def final(self) -> bool:
        return self.state in FINAL


class Outlook(Document):
    """What a job is expected to take still, for those who wait behind it; what is not known is None."""

    seconds: float | None = None
    memory_mb: float | None = None
    """Memory of the machine, beside what the job has already."""
    running: bool = False
    """Whether it works; else it waits."""
