"""Writes what becomes of a job into its folder: events.jsonl, status.json, log.txt.

Events come from the job's generator and from samplers, which are threads that run beside it. Each is written at once:
`data.pace` is for work that has more to say than four times a second.
"""

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Literal

from tl_core.documents.events import EVENT, Ended, Event, Failure, Notice, Stage, StageStarted, Status, UsedGpu
from tl_core.errors import DocumentError, NotFound
from tl_core.hardware import PeakMemory
from tl_core.runs.failures import disk_full
from tl_core.runs.store.job_folder import JobFolder

LOOK_EVERY = 0.05
"""Seconds between two looks at the memory and the limits of a job; one takes 20 microseconds."""
_ACCOUNTS: dict[Stage, str] = {"reading": "ingest"}


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

    def end(
        self,
        state: Literal["succeeded", "failed", "cancelled"],
        message: str,
        failure: Failure | None,
        *,
        reason: str | None = None,
    ) -> None:
        """Write how the job ended, once; `reason` as in `Status`. On a full disk, the space that was set aside is used; raises OSError if it is too little."""
        with self._lock:
            if self._ended.is_set():
                return
            try:
                self._end(state, message, failure, reason)
            except Exception as error:
                if not disk_full(error):
                    raise
                self._job.reserve.unlink(missing_ok=True)
                self._end(state, message, failure, reason)
            self._job.reserve.unlink(missing_ok=True)
            self._ended.set()

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

    def _end(
        self,
        state: Literal["succeeded", "failed", "cancelled"],
        message: str,
        failure: Failure | None,
        reason: str | None,
    ) -> None:
        self._account()
        total = self._before + time.monotonic() - self._begun - self._seconds.get("waiting", 0.0)
        self._append(Ended(state=state, message=message))
        self._set_status(
            state=state,
            ended=time.time(),
            seconds={**self._seconds, "total": round(total, 3)},
            peak_memory_mb=self.memory.megabytes(),
            failure=failure,
            reason=reason,
        )
        self.log(message)

    def _carried(self) -> Status:
        """The status of a job that goes on after it had been stopped, as it was written for this worker; else that of a new job."""
        with suppress(NotFound, DocumentError):
            found = Status.read(self._job.status_file)
            if found.state == "queued" and found.resumed is not None:
                return found
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
