"""Writes what becomes of a job into its folder: events.jsonl, status.json, log.txt; also the sentence that a user reads where it failed.

Events come from the job's generator and from samplers, which are threads that run beside it. Each is written at once:
`data.pace` is for work that has more to say than four times a second.
"""

import errno
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Literal

from tl_core.documents.events import EVENT, Ended, Event, Failure, Notice, Stage, StageStarted, Status, UsedGpu
from tl_core.errors import (
    Cancelled,
    DeviceError,
    DiskFull,
    DocumentError,
    GraftError,
    NotFound,
    StoreError,
    memory_ran_out,
)
from tl_core.hardware import PeakMemory
from tl_core.runs.store.job_folder import JobFolder

LOOK_EVERY = 0.05
"""Seconds between two looks at the memory and the limits of a job; one takes 20 microseconds."""
_ACCOUNTS: dict[Stage, str] = {"reading": "ingest"}
_REFUSED = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE}
)


class Stopped(Cancelled):
    """Who watches a job has ended it; the message is the reason, which its record keeps."""


class Recorder:
    """Writes events, states and log lines of one job, from any thread, each line whole and in the order of time.

    Only the process that holds the job's lock may have a recorder of it.
    """

    def __init__(self, job: JobFolder) -> None:
        self._job = job
        self._status = self._carried()
        self._begun = self._stage_begun = time.monotonic()
        self._seconds = {name: taken for name, taken in self._status.seconds.items() if name != "total"}
        self._before = self._status.seconds.get("total", 0.0) + self._seconds.get("waiting", 0.0)
        """Seconds that the job had taken before it was stopped, waiting included."""
        self._events = os.open(job.events_file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._latest = 0.0
        self._lock, self._ended = threading.RLock(), threading.Event()
        self._close_half_line()
        self.memory = PeakMemory()
        self.sample(self._look_at_memory, LOOK_EVERY)
        if self._status.resumed is not None:
            self._append(self._status.resumed)
            self.log("It goes on after it had been stopped.")

    def sample(self, look: Callable[[], Event | None], seconds: float) -> None:
        """Call `look` every `seconds` in a thread of its own until the job has ended, and write the events that it returns.

        A value that every job reports, such as the temperature of the GPU, is sampled by a call in `__init__`. A sampler that fails
        is logged and stopped; the job goes on.
        """

        def watch() -> None:
            try:
                while not self._ended.wait(seconds):
                    event = look()
                    if event is not None:
                        self.write(event)
            except Exception as error:  # noqa: BLE001 - a sampler must not end the job
                self.log(f"A sampler stopped: {type(error).__name__}: {error}")

        threading.Thread(target=watch, daemon=True).start()

    def write(self, event: Event) -> None:
        """Write one event; after the job's end, none is written. Raises OSError or DiskFull where it cannot be written."""
        with self._lock:
            if self._ended.is_set():
                return
            if isinstance(event, StageStarted):
                self._account()
                waiting = event.stage == "waiting"
                started = self._status.started or (None if waiting else time.time())
                state: Literal["queued", "running"] = "queued" if waiting else "running"
                self._set_status(state=state, stage=event.stage, started=started, seconds=dict(self._seconds))
                self.log(event.title)
            elif isinstance(event, Notice):
                self.log(event.message)
            self._append(event)

    def device(self, device: str, *, gpu: UsedGpu | None = None) -> None:
        """Note in the next status which device the job has; of several GPUs, the one that it works on."""
        self._status = self._status.model_copy(update={"device": device, "gpu": gpu})
        if gpu:
            self.log(f"It works on {gpu.name} ({gpu.uuid}).")

    def end(self, error: BaseException | None = None, *, reason: str | None = None) -> int:
        """Write once how the job ended, well or with `error`, in words; the exit code of its process. `reason` as in `Status`.

        On a full disk, the space that was set aside is used; raises OSError if it is too little.
        """
        failure: Failure | None = None
        if error is None:
            ending = Ended(state="succeeded", message="Done.")
        elif isinstance(error, Cancelled):
            ending = Ended(state="cancelled", message=error.message)
            reason = error.message if isinstance(error, Stopped) else None
        else:
            failure = failure_of(error)
            ending = Ended(state="failed", message=failure.message)
            if failure.kind == "bug":
                self.log("".join(traceback.format_exception(error)))
        with self._lock:
            if not self._ended.is_set():
                try:
                    self._end(ending, failure, reason)
                except Exception as problem:
                    if not disk_full(problem):
                        raise
                    self._job.reserve.unlink(missing_ok=True)
                    self._end(ending, failure, reason)
                self._job.reserve.unlink(missing_ok=True)
                self._ended.set()
        if failure is not None:
            return failure.exit_code
        return 0 if error is None else Cancelled.exit_code

    def log(self, text: str) -> None:
        """Add a line to the log, which is for people."""
        # A log that cannot be written must not end a job that can go on: the job meets a full disk itself.
        with suppress(OSError), self._job.log_file.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}  {text.rstrip()}\n")

    def close(self) -> None:
        with self._lock:
            self._ended.set()
            os.close(self._events)

    def _look_at_memory(self) -> None:
        self.memory.look()

    def _end(self, ending: Ended, failure: Failure | None, reason: str | None) -> None:
        self._account()
        total = self._before + time.monotonic() - self._begun - self._seconds.get("waiting", 0.0)
        self._append(ending)
        self._set_status(
            state=ending.state,
            ended=time.time(),
            seconds={**self._seconds, "total": round(total, 3)},
            peak_memory_mb=self.memory.megabytes(),
            failure=failure,
            reason=reason,
        )
        self.log(ending.message)

    def _carried(self) -> Status:
        """The status of a job that goes on after it had been stopped, as it was written for this worker; else that of a new job."""
        with suppress(NotFound, DocumentError):
            status = Status.read(self._job.status_file)
            if status.state == "queued" and status.resumed is not None:
                return status
        return Status(state="queued")

    def _account(self) -> None:
        """Add the time since the last look to the stage that it went into."""
        now = time.monotonic()
        if self._status.stage is not None:
            name = _ACCOUNTS.get(self._status.stage, self._status.stage)
            self._seconds[name] = round(self._seconds.get(name, 0.0) + now - self._stage_begun, 3)
        self._stage_begun = now

    def _set_status(self, **changes: object) -> None:
        self._status = self._status.model_copy(update=changes)
        self._status.write(self._job.status_file)

    def _append(self, event: Event) -> None:
        # Another thread may have made an event earlier and come later.
        if event.time < self._latest:
            event = event.model_copy(update={"time": self._latest})
        self._latest = event.time
        line = EVENT.dump_json(event) + b"\n"
        end = os.lseek(self._events, 0, os.SEEK_END)
        try:
            while line:
                line = line[os.write(self._events, line) :]
        except OSError:
            os.ftruncate(self._events, end)
            raise

    def _close_half_line(self) -> None:
        """End the line that a killed worker left half written, so that the next event has a line of its own."""
        end = os.lseek(self._events, 0, os.SEEK_END)
        if end and os.pread(self._events, 1, end - 1) != b"\n":
            os.write(self._events, b"\n")


def failure_of(error: BaseException) -> Failure:
    """What ended a job, in a sentence that says what to do."""
    sentence: GraftError
    if isinstance(error, GraftError):
        sentence = error
    elif disk_full(error):
        sentence = DiskFull("The disk is full. Free some space, then start again; what was finished before is whole.")
    elif isinstance(error, OSError) and error.errno in _REFUSED:
        what = f" ({error.filename})" if error.filename else ""
        sentence = StoreError(
            f"The system refused a file: {error.strerror}{what}. Correct that, then start again; "
            "what was finished before is whole."
        )
    elif memory_ran_out(error):
        sentence = DeviceError.of_memory(error)
    else:
        words = " ".join(str(error).split())[:300]
        what = f"{type(error).__name__}: {words}" if words else type(error).__name__
        message = f"Something went wrong inside Graft ({what}). This is a bug in Graft; the log has the details."
        return Failure(kind="bug", message=message, exit_code=1)
    return Failure(kind=sentence.kind, message=sentence.message, exit_code=sentence.exit_code)


def disk_full(error: BaseException) -> bool:
    """Whether a full disk caused `error`, also where a library reports it in its own words."""
    return any(
        isinstance(cause, DiskFull)
        or (isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT))
        or "no space left on device" in str(cause).lower()
        for cause in _causes(error)
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error`, what caused it, and so on."""
    cause: BaseException | None = error
    seen: list[BaseException] = []
    while cause is not None and cause not in seen:
        seen.append(cause)
        yield cause
        cause = cause.__cause__ or cause.__context__
