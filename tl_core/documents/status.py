"""status.json: the state of a job. Only its worker writes it; what a dead worker could not write is derived by the reader."""

from typing import Literal

from pydantic import Field

from tl_core.documents.base import Document, Record
from tl_core.documents.events import Resumed, Stage

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
    """Why it ended as it did, a sentence, where neither it nor a user but the race that it is part of ended it."""
    resumed: Resumed | None = None
    """Where the job went on after it had been stopped: the event that it then began with. `seconds` count what it took before, too."""

    @property
    def final(self) -> bool:
        return self.state in FINAL
