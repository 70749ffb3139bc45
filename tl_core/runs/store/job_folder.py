"""The folder of one job: the files in it, its documents, and the state that follows from what lies in it; how it is made.

It is whole when it appears, and appears only once for the same key.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypeVar

from pydantic import ValidationError

from tl_core import locks
from tl_core.disk import disk_full_said, modified, read_once, remove, vanish
from tl_core.documents.base import Document
from tl_core.documents.events import EVENT, Event, Failure, Outlook, Stage, State, Status
from tl_core.documents.spec import Label
from tl_core.documents.tasks import JobSpec, SpecFile
from tl_core.errors import DocumentError, InUse, NotEmpty, NotFound, SpecError, StoreError

_Spec = TypeVar("_Spec", bound=Document)
RESERVE_BYTES = 65_536
RACES = "races"
"""Folder of a workspace that holds its races."""
_IN_RACE = b"race "
"""What the file `submitted` of a run that waits in a race begins with; the id of the race follows."""
DIED = (
    "It was interrupted: its worker ended in the middle, with the app, because it was killed, or because memory ran out. "
    "Everything that it read is whole. Start it again."
)


_spec_file = read_once(4096)(SpecFile.read)


def keep_reserve(path: Path) -> None:
    """Set disk space aside, so that a job can say that the disk is full. Raises DiskFull where there is none."""
    with disk_full_said("a new job"), path.open("wb") as file:
        file.write(os.urandom(RESERVE_BYTES))
        file.flush()
        # Only then is it known to lie on the disk: file systems hand out space late.
        os.fsync(file.fileno())


class In:
    """A file or folder in that of a job: with `lock = In("lock")` in the class, `job.lock` is its path."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, job: JobFolder, kind: type[JobFolder]) -> Path:
        return job.path / self._name


@dataclass(frozen=True)
class JobFolder:
    """One job in any state. Any process may read it at any time."""

    path: Path
    spec_file = In("spec.json")
    """What was asked for."""
    status_file = In("status.json")
    """Its state, written by the holder of the lock."""
    events_file = In("events.jsonl")
    """Its events, append-only."""
    log_file = In("log.txt")
    """For people: stages, tracebacks."""
    label_file = In("label.json")
    """A name given afterwards."""
    expected_file = In("expected.json")
    """About how long it takes and how much memory, where that was known when it was started."""
    lock = In("lock")
    """Held while the job runs."""
    submitted = In("submitted")
    """Locked while the job is submitted; not empty while it waits in an executor that has not started it, or in a race, which it names."""
    cancel_file = In("cancel")
    """Somebody asked it to stop."""
    reserve = In("reserve")
    """Space for the last status on a full disk."""
    what: ClassVar[str] = "job"
    stored_in: ClassVar[str]
    """Folder of a workspace that holds the jobs of its kind."""
    delivers_in: ClassVar[frozenset[Stage]] = frozenset()
    """Stages in which it writes and judges what it has learned."""

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def workspace_folder(self) -> Path:
        """The folder of the workspace in which it lies."""
        return self.path.parents[1]

    @property
    def created(self) -> float:
        """Seconds since the epoch; the lock file is made with the job and never written to."""
        return modified(self.lock)

    @property
    def exists(self) -> bool:
        return self.spec_file.is_file()

    def spec(self) -> JobSpec:
        """Raises NotFound, DocumentError."""
        return _spec_file(self.spec_file).spec

    @property
    def readable(self) -> bool:
        """Whether this version of Graft can read what was asked for."""
        with suppress(NotFound, DocumentError):
            self.spec()
            return True
        return False

    def spec_as(self, kind: type[_Spec]) -> _Spec:
        """The spec, which is of that kind. Raises NotFound, DocumentError."""
        spec = JobFolder.spec(self)
        if not isinstance(spec, kind):
            raise DocumentError(f"{self.path.name} is no {self.what} of the kind {kind.__name__}.")
        return spec

    def write_spec(self, spec: JobSpec) -> None:
        """Raises DiskFull."""
        SpecFile(spec=spec).write(self.spec_file)

    def expected(self) -> Outlook:
        """What it was expected to take when it was started, as far as that was known."""
        try:
            return Outlook.read(self.expected_file)
        except (NotFound, DocumentError):
            return Outlook()

    @property
    def finishing(self) -> bool:
        """Whether it is to deliver the best that it has, without further work."""
        return False

    def finish_early(self) -> bool:
        """Note that it is `finishing` from now on; False where it is already, or has nothing to deliver."""
        return False

    @property
    def name(self) -> str:
        """Display text: the name given afterwards, else the one in the spec, else the id."""
        with suppress(NotFound, DocumentError):
            return Label.read(self.label_file).name
        with suppress(NotFound, DocumentError):
            return self._own_name()
        return self.id

    def _own_name(self) -> str:
        """The name that its spec has. Raises NotFound, DocumentError."""
        return str(getattr(self.spec(), "name", self.id))

    def rename(self, name: str) -> None:
        """Give it another display name. Raises NotFound, DiskFull."""
        if not self.exists:
            raise NotFound(f"This {self.what} is gone.")
        Label(name=" ".join(name.split())[:200] or self.id).write(self.label_file)

    def alive(self) -> bool:
        """Whether it is being submitted, waits in an executor, or has a worker."""
        # The lock last: who takes it removes `submitted` afterwards.
        return locks.held(self.submitted) or self.waits() or locks.held(self.lock)

    def waits(self) -> bool:
        """Whether an executor has accepted the job and no worker has taken it yet, or it waits in a race that is alive."""
        race = self.waits_in
        return JobFolder(self.workspace_folder / RACES / race).alive() if race else bool(self._accepted())

    @property
    def waits_in(self) -> str | None:
        """Id of the race in which it waits, whether that is alive or not; None where it waits in none."""
        accepted = self._accepted()
        return accepted.removeprefix(_IN_RACE).decode(errors="replace") if accepted.startswith(_IN_RACE) else None

    def _accepted(self) -> bytes:
        """What the file `submitted` says; nothing where nobody has accepted the job, or a worker has taken it."""
        with suppress(OSError):
            return self.submitted.read_bytes()
        return b""

    def wait_in(self, race: str, claim: int) -> None:
        """Let the job wait in the race with that id, and release `claim`, the right to submit it. Raises DiskFull."""
        try:
            with disk_full_said("a new job"):
                os.ftruncate(claim, 0)
                os.pwrite(claim, _IN_RACE + race.encode(), 0)
        finally:
            locks.release([claim])

    def parts(self) -> tuple[JobFolder, ...]:
        """Other jobs that its worker carries out, one after the other."""
        return ()

    def claim(self) -> int | None:
        """The right to submit the job, as a descriptor to release; None where somebody has it or the job is alive.

        Raises FileNotFoundError where the folder is gone.
        """
        claim = locks.take(self.submitted)
        if claim is None:
            return None
        # Whoever started the job meanwhile has removed the file that is locked here.
        if os.fstat(claim).st_nlink and not self.waits() and not locks.held(self.lock):
            return claim
        locks.release([claim])
        return None

    def status(self) -> Status:
        """Its state. What a dead worker could not write is derived here.

        Raises:
            NotFound: there is no such job.
            DocumentError: its status.json is not one.
        """
        # The lock first: a worker that ends between the two looks has written its last status by the second.
        alive = self.alive()
        try:
            status = Status.read(self.status_file)
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

    @property
    def ready(self) -> bool:
        """Whether what it was to make is there and whole."""
        return self.status().state == "succeeded"

    def tidy(self) -> None:
        """Remove what lies here of work that broke off and that nothing can be made of any more."""

    def _died(self) -> str:
        return DIED

    def events(self, offset: int = 0, *, only: Sequence[str] = ()) -> tuple[list[Event], int]:
        """The events written since byte `offset`, and the offset to ask with next time; `only`: of these types, which takes less time.

        The last line counts once its end is written. A line that a dead worker left half written is passed over.
        """
        types = [f'"type":"{name}"'.encode() for name in only]
        try:
            with self.events_file.open("rb") as file:
                file.seek(offset)
                text = file.read()
        except FileNotFoundError:
            return [], 0
        complete = text[: text.rfind(b"\n") + 1]
        events: list[Event] = []
        for line in complete.splitlines():
            if types and not any(name in line for name in types):
                continue
            with suppress(ValidationError):
                events.append(EVENT.validate_json(line))
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
            self.discard()

    def discard(self) -> None:
        """Remove it for good, for a caller that holds the lock or the claim of the job."""
        vanish(self.path, self.path.with_name(f".deleted-{secrets.token_hex(8)}"))

    @contextmanager
    def idle(self) -> Iterator[None]:
        """Hold every lock of the folder, so that no job starts on it meanwhile. Raises InUse."""
        with ExitStack() as held:
            for path, problem in self._needed_by():
                # Where somebody else has removed the folder, there is nothing to hold.
                with suppress(FileNotFoundError):
                    if self.waits() or not held.enter_context(locks.holding(path)):
                        raise InUse(problem)
            yield

    def _needed_by(self) -> list[tuple[Path, str]]:
        problem = f"{self.name!r} is still at work. Cancel it, or wait until it ended."
        return [(self.submitted, problem), (self.lock, problem)]


def identifier(key: str | None) -> str:
    """The same id for the same key, so that the file system itself lets only one of two jobs come to be."""
    return secrets.token_hex(8) if key is None else hashlib.sha256(key.encode()).hexdigest()[:16]


def make(folder: Path, spec: JobSpec) -> tuple[Path, int | None]:
    """Make the folder of the job that `spec` asks for, which is whole when it appears, and the claim to submit it (`JobFolder.claim`).

    There is no claim where the job is there already: who made it submits it.
    """
    if folder.is_dir():
        return folder, None
    fresh = folder.with_name(f".new-{secrets.token_hex(8)}")
    try:
        with disk_full_said("a new job"):
            fresh.mkdir(parents=True)
        claim = _fill(fresh, spec)
    except BaseException:
        remove(fresh)
        raise
    try:
        fresh.rename(folder)
    except OSError as error:
        locks.release([claim])
        remove(fresh)
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return folder, None
        raise
    return folder, claim


def free_folder(path: Path) -> Path:
    """The absolute `path` of a folder that may be filled: one that is empty or not there yet.

    Raises:
        NotEmpty: it holds something, or is a file.
        SpecError: it cannot be made or written to.
    """
    path = path.expanduser().absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise _taken(path)
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise SpecError(f"{path} cannot be written: {nearest} is no folder that you may write to. Name another one.")
    return path


def make_outside(folder: Path, spec: JobSpec) -> tuple[Path, int]:
    """Make a job folder of the user's own `folder`, which is empty or not there yet, and the claim to submit it."""
    folder = free_folder(folder)
    try:
        with disk_full_said("a new job"):
            folder.mkdir(parents=True, exist_ok=True)
        os.close(os.open(folder / "lock", os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        raise _taken(folder) from None
    except OSError as error:
        raise StoreError(f"{folder} cannot be made: {error.strerror}. Name another folder.") from error
    try:
        return folder, _fill(folder, spec)
    except BaseException:
        # Else it would hold something at the next attempt.
        remove(folder)
        raise


def _taken(folder: Path) -> NotEmpty:
    return NotEmpty(f"{folder} holds something already. Name a folder that is empty or not there yet.")


def _fill(folder: Path, spec: JobSpec) -> int:
    job = JobFolder(folder)
    claim = locks.take(job.submitted)
    if claim is None:
        raise InUse(f"Somebody else is using {folder}.")
    try:
        job.lock.touch(0o600)
        keep_reserve(job.reserve)
        job.write_spec(spec)
    except BaseException:
        locks.release([claim])
        raise
    return claim
