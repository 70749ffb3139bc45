"""A job is a folder: one class owns its paths and says how it stands. Knows nothing of workspaces, queues or processes.

spec.json     what was asked for            status.json   how it stands, written by who holds the lock
events.jsonl  what it said, append-only     log.txt       for people: stages, tracebacks
lock          held for the job's life       cancel        somebody asked it to stop
label.json    a name given afterwards       reserve       room for the last words on a full disk
in_use        (data set) held, shared, by every run that needs it
finish        (run) skip training, export best.safetensors
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from tl_core.documents.events import EVENT, Event
from tl_core.documents.manifest import ImageEntry, Manifest
from tl_core.documents.report import Report
from tl_core.documents.spec import IngestSpec, Label, SpecFile, TrainSpec
from tl_core.documents.status import Failure, State, Status
from tl_core.errors import DocumentError, InUse, NotFound
from tl_core.runs import locks

_DIED = (
    "It was interrupted: its worker ended in the middle, with the app, because it was killed, or because memory ran out. "
    "Everything that it read is whole. Start it again."
)
_DIED_WITH_BEST = _DIED[: -len("Start it again.")] + "Start it again, or finish with the best so far."


class JobFolder:
    """One job, whatever became of it. Any process may read it at any time."""

    what = "job"

    def __init__(self, path: Path) -> None:
        self.path = path

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.path)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JobFolder) and self.path == other.path

    def __hash__(self) -> int:
        return hash(self.path)

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def lock(self) -> Path:
        return self.path / "lock"

    @property
    def cancel_file(self) -> Path:
        return self.path / "cancel"

    @property
    def reserve(self) -> Path:
        return self.path / "reserve"

    @property
    def log_file(self) -> Path:
        return self.path / "log.txt"

    @property
    def created(self) -> float:
        """Seconds since the epoch; the lock file is made with the job and never written to."""
        try:
            return self.lock.stat().st_mtime
        except FileNotFoundError:
            return 0.0

    @property
    def exists(self) -> bool:
        return (self.path / "spec.json").is_file()

    def spec(self) -> IngestSpec | TrainSpec:
        """Raises NotFound, DocumentError."""
        return SpecFile.read(self.path / "spec.json").spec

    def write_spec(self, spec: IngestSpec | TrainSpec) -> None:
        """Raises DiskFull."""
        SpecFile(spec=spec).write(self.path / "spec.json")

    @property
    def name(self) -> str:
        """Display text: the name given afterwards, else the one in the spec, else the id."""
        with suppress(NotFound, DocumentError):
            return Label.read(self.path / "label.json").name
        try:
            return self.spec().name
        except (NotFound, DocumentError):
            return self.id

    def rename(self, name: str) -> None:
        """Give it another display name. Raises NotFound, DiskFull."""
        if not self.exists:
            raise NotFound(f"This {self.what} is gone.")
        Label(name=" ".join(name.split())[:200] or self.id).write(self.path / "label.json")

    def alive(self) -> bool:
        """Whether a worker has it: queued, running or cancelling."""
        return locks.held(self.lock)

    def status(self) -> Status:
        """How it stands. What a dead worker could not write is derived here.

        Raises:
            NotFound: there is no such job.
            DocumentError: its status.json is not one.
        """
        # The lock first: a worker that ends between the two looks has written its last status by the second.
        alive = self.alive()
        try:
            status = Status.read(self.path / "status.json")
        except NotFound:
            if not self.exists:
                raise NotFound(f"This {self.what} is gone.") from None
            status = Status(state="queued")
        if status.final:
            return status
        asked = self.cancel_file.exists()
        if alive:
            return status.model_copy(update={"state": "cancelling"}) if asked else status
        state: State = "cancelled" if asked else "interrupted"
        failure = None if asked else Failure(kind="worker_died", message=self._died(), exit_code=1)
        return status.model_copy(update={"state": state, "failure": failure})

    def _died(self) -> str:
        return _DIED

    def events(self, offset: int = 0) -> tuple[list[Event], int]:
        """The events written since byte `offset`, and the offset to ask with next time.

        The last line counts once its end is written. A line that a dead worker left half written is passed over.
        """
        try:
            with (self.path / "events.jsonl").open("rb") as file:
                file.seek(offset)
                text = file.read()
        except FileNotFoundError:
            return [], 0
        complete = text[: text.rfind(b"\n") + 1]
        events: list[Event] = []
        for line in complete.splitlines():
            try:
                events.append(EVENT.validate_json(line))
            except ValidationError:
                continue
        return events, offset + len(complete)

    def log(self, tail_bytes: int = 20_000) -> str:
        """The end of the log, at most `tail_bytes` long; empty where there is none."""
        try:
            with self.log_file.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(0, size - tail_bytes))
                return file.read().decode(errors="replace")
        except FileNotFoundError:
            return ""

    def delete(self) -> None:
        """Remove it for good. Raises InUse, in words, where a job needs it."""
        with self.idle():
            gone = self.path.with_name(f".deleted-{secrets.token_hex(8)}")
            try:
                self.path.rename(gone)
            except FileNotFoundError:
                return
            shutil.rmtree(gone, ignore_errors=True)

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Hold every lock of the folder, so that no job starts on it meanwhile. Raises InUse."""
        descriptors: list[int] = []
        try:
            for path, problem in self._needed_by():
                descriptor = locks.take(path) if self.path.is_dir() else None
                if descriptor is None and self.path.is_dir():
                    raise InUse(problem)
                descriptors.extend([] if descriptor is None else [descriptor])
            yield
        finally:
            locks.release(descriptors)

    def _needed_by(self) -> list[tuple[Path, str]]:
        return [(self.lock, f"{self.name!r} is still at work. Cancel it, or wait until it ended.")]


class DatasetFolder(JobFolder):
    """A data set, read or being read."""

    what = "data set"

    @property
    def use_lock(self) -> Path:
        return self.path / "in_use"

    def spec(self) -> IngestSpec:
        spec = super().spec()
        if not isinstance(spec, IngestSpec):
            raise DocumentError(f"{self.path.name} is a run, not a data set.")
        return spec

    def manifest(self) -> Manifest:
        """Raises NotFound where it was not read to the end, DocumentError."""
        return Manifest.read(self.path / "manifest.json")

    def image(self, entry: ImageEntry) -> Path:
        """The normalised copy, longest side at most 1024 pixels."""
        return self.path / "images" / entry.file

    def thumbnail(self, entry: ImageEntry) -> Path:
        """A JPEG, longest side 256 pixels."""
        return self.path / "thumbnails" / f"{Path(entry.file).stem}.jpg"

    def _needed_by(self) -> list[tuple[Path, str]]:
        return [
            *super()._needed_by(),
            (self.use_lock, f"A run that has not ended needs {self.name!r}. Cancel the run, or wait until it ended."),
        ]


class RunFolder(JobFolder):
    """A training run; also what `--out DIR` is."""

    what = "run"

    def spec(self) -> TrainSpec:
        spec = super().spec()
        if not isinstance(spec, TrainSpec):
            raise DocumentError(f"{self.path.name} is a data set, not a run.")
        return spec

    def report(self) -> Report:
        """Raises NotFound where it did not end well, DocumentError."""
        return Report.read(self.path / "report.json")

    @cached_property
    def bundle(self) -> Path:
        return self.path / "bundle"

    @cached_property
    def best(self) -> Path:
        """The best state so far, written during training; absent where nothing is trained step by step."""
        return self.path / "best.safetensors"

    @property
    def finish_file(self) -> Path:
        return self.path / "finish"

    @property
    def finishing(self) -> bool:
        """Whether training is to be skipped and `best` exported."""
        return self.finish_file.exists()

    def can_finish(self) -> bool:
        """Whether "finish with the best so far" has something to finish with."""
        return self.best.is_file() and self.status().state in ("cancelled", "interrupted", "failed")

    def _died(self) -> str:
        return _DIED_WITH_BEST if self.best.is_file() else _DIED


def open_job(path: Path) -> DatasetFolder | RunFolder:
    """The job folder at `path`, as what its spec says it is. Raises NotFound, DocumentError."""
    return DatasetFolder(path) if isinstance(JobFolder(path).spec(), IngestSpec) else RunFolder(path)
