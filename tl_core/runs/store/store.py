"""Where everything lies: workspaces with data sets, runs, races and tasks, the cache, the queue.

    STORE/workspaces/TOKEN/datasets/ID, runs/ID, races/ID, tasks/ID, staging/      STORE/cache/      STORE/queue/DEVICE/

A token is the only key to a workspace. Names that begin with a dot are on their way in (`.new-`) or out (`.deleted-`).
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from tl_core import locks, settings
from tl_core.disk import disk_full_said, modified, vanish
from tl_core.errors import InUse, NotFound, StoreError
from tl_core.models.registry import Network, networks
from tl_core.runs.store.folders import DatasetFolder, RaceFolder, RunFolder, TaskFolder, forget
from tl_core.runs.store.job_folder import JobFolder
from tl_core.table import Table

if TYPE_CHECKING:
    from tl_core.data.cache import Cache

_COMMAND_LINE = "command-line-token"
_TOKEN = re.compile(r"[0-9a-f]{32}")
_ID = re.compile(r"[0-9a-f]{16}")
_NETWORKS = "networks"
"""Folder of a workspace with an empty file for each network that was added here, called as the network is."""
KINDS = tuple(kind.stored_in for kind in (DatasetFolder, RunFolder, RaceFolder, TaskFolder))
_Job = TypeVar("_Job", bound=JobFolder)


def new_token() -> str:
    """The key to a workspace that nobody can guess: 128 random bits, 32 hex digits."""
    return secrets.token_hex(16)


def new_id() -> str:
    return secrets.token_hex(8)


@dataclass(frozen=True)
class Workspace:
    """One user's data sets, runs, races and tasks. Nothing is written before the first data set."""

    path: Path

    @property
    def token(self) -> str:
        return self.path.name

    @property
    def store(self) -> Store:
        """The store in which it lies."""
        return Store(self.path.parents[1])

    @property
    def exists(self) -> bool:
        return self.path.is_dir()

    @property
    def passing(self) -> Path:
        """A file that only a workspace has that is to be removed as soon as nobody holds the lock on it."""
        return self.path / "passing"

    def forsaken(self) -> bool:
        """Whether it was to be removed by a process that has ended before it could."""
        return self.passing.exists() and not locks.held(self.passing)

    def datasets(self) -> list[DatasetFolder]:
        """Newest first, in whatever state."""
        return self._all(DatasetFolder)

    def runs(self) -> list[RunFolder]:
        """Newest first, in whatever state."""
        return self._all(RunFolder)

    def races(self) -> list[RaceFolder]:
        """Newest first, in whatever state."""
        return self._all(RaceFolder)

    def tasks(self) -> list[TaskFolder]:
        """Newest first, in whatever state; those that ended are kept for a day."""
        return self._all(TaskFolder)

    def dataset(self, identifier: str, version: int | None = None) -> DatasetFolder:
        """A data set in that version, or in the current one. Raises NotFound where there is no such data set."""
        found = self._one(DatasetFolder, identifier)
        return found if version is None else found.at(version)

    def run(self, identifier: str) -> RunFolder:
        """Raises NotFound."""
        return self._one(RunFolder, identifier)

    def race(self, identifier: str) -> RaceFolder:
        """Raises NotFound."""
        return self._one(RaceFolder, identifier)

    def _all(self, kind: type[_Job]) -> list[_Job]:
        return _newest_first([job for path in _entries(self.path / kind.stored_in) if (job := kind(path)).readable])

    def unreadable(self) -> list[JobFolder]:
        """Jobs that another version of Graft wrote, or whose spec is damaged: they are listed nowhere else."""
        jobs = (JobFolder(path) for kind in KINDS for path in _entries(self.path / kind))
        return [job for job in jobs if not job.readable]

    def _one(self, kind: type[_Job], identifier: str) -> _Job:
        if not _ID.fullmatch(identifier):
            raise NotFound(f"There is no such {kind.what} in this workspace.")
        job = kind(self.path / kind.stored_in / identifier)
        if not job.exists:
            raise NotFound(f"There is no such {kind.what} in this workspace. It may have been deleted.")
        return job

    def backbones(self) -> Table[Network]:
        """The networks that this workspace can choose from: those that everybody has, and those that were added here by name."""
        return networks(path.name for path in children(self.path / _NETWORKS))

    def add_backbone(self, name: str) -> None:
        """List the network `name`, whose row lies in the store, among this workspace's own."""
        (self.path / _NETWORKS).mkdir(exist_ok=True)
        (self.path / _NETWORKS / name).touch()

    def live(self) -> list[JobFolder]:
        """Jobs that wait or have a worker, newest first; one that has ended is among them until its worker is gone."""
        jobs = (*self.datasets(), *self.runs(), *self.races(), *self.tasks())
        return _newest_first([job for job in jobs if job.alive()])

    def staging(self, name: str | None = None) -> Path:
        """A folder for an upload, a fresh one without a `name`; the job that reads it takes it away again. Raises as `make`."""
        folder = self.path / "staging" / (name or new_id())
        self.make()
        with disk_full_said("an upload"):
            folder.mkdir(parents=True, exist_ok=name is not None)
        return folder

    def holds_staged(self, path: Path) -> bool:
        """Whether `path` lies in this workspace's staging folder, and so may be removed."""
        return (self.path / "staging").resolve() in path.resolve().parents

    def touch(self) -> None:
        """Note that somebody was here; a workspace that holds nothing stays unwritten."""
        # On a full disk the pages open all the same.
        with suppress(OSError):
            if self.exists:
                (self.path / "touched").touch()

    def last_used(self) -> float:
        """Seconds since the epoch."""
        kinds = [self.path / kind for kind in KINDS]
        jobs = [path for kind in kinds for path in _entries(kind)]
        return max(modified(path) for path in (self.path, self.path / "touched", *kinds, *jobs))

    def delete(self) -> None:
        """Remove everything here. Raises InUse where a job is at work; then nothing was removed."""
        if not self.exists:
            return
        with ExitStack() as held:
            for job in (*self.races(), *self.runs(), *self.tasks(), *self.datasets(), *self.unreadable()):
                held.enter_context(job.idle())
            origins = [origin for dataset in self.datasets() for origin in dataset.origins()]
            vanish(self.path, self.path.with_name(f".deleted-{new_id()}"))
            forget(self.store.root, origins)

    def make(self) -> None:
        """Make its folder, for its owner only. Raises StoreError, of which DiskFull is one, where that cannot be done."""
        self.store.make()
        with disk_full_said("a new workspace"):
            self.path.mkdir(exist_ok=True, mode=0o700)


class Store:
    """One folder on disk, shared by every app and command that is given the same GRAFT_STORE."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @classmethod
    def default(cls) -> Store:
        """The store that GRAFT_STORE names, else the one in the user's data folder."""
        return cls(settings.store_folder())

    def make(self) -> None:
        """Make its folders where they are not there yet, for their owner only: a token that can be listed protects nothing.

        Raises:
            StoreError: that cannot be done, or they cannot be written to.
        """
        try:
            with disk_full_said(f"the store {self.root}"):
                self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
                for name in ("workspaces", "cache", "queue"):
                    (self.root / name).mkdir(exist_ok=True, mode=0o700)
                    if not os.access(self.root / name, os.W_OK | os.X_OK):
                        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        except OSError as error:
            raise StoreError(
                f"The store {self.root} cannot be used: {error.strerror}. Set GRAFT_STORE to a folder that you may write to."
            ) from error

    @cached_property
    def cache(self) -> Cache:
        """Raises StoreError where the store cannot be written to."""
        from tl_core.data.cache import Cache

        self.make()
        chosen = settings.current()
        return Cache(self.root / "cache", chosen.cache_bytes, free_bytes=chosen.free_bytes)

    @property
    def queue(self) -> Path:
        return self.root / "queue"

    def workspace(self, token: str) -> Workspace:
        """The workspace of `token`, which need not exist yet. Raises NotFound for what is no token."""
        if not _TOKEN.fullmatch(token):
            raise NotFound("This is not a workspace's token: it has 32 digits and letters from a to f.")
        return Workspace(self.root / "workspaces" / token)

    @contextmanager
    def passing_workspace(self) -> Iterator[Workspace]:
        """A new workspace that is removed when the block ends; where its process is killed before, the next sweep removes it.

        Raises:
            StoreError: as `make`.
        """
        workspace = self.workspace(new_token())
        workspace.make()
        with locks.holding(workspace.passing):
            try:
                yield workspace
            finally:
                # A job that was cancelled just now may still be ending.
                with suppress(InUse):
                    workspace.delete()

    def workspaces(self) -> list[Workspace]:
        return [Workspace(path) for path in children(self.root / "workspaces") if _TOKEN.fullmatch(path.name)]

    def command_line_backbones(self) -> Table[Network]:
        """The networks that commands can choose from. Nothing is written."""
        return self.command_line_workspace().backbones() if (self.root / _COMMAND_LINE).exists() else networks()

    def command_line_workspace(self) -> Workspace:
        """The workspace of commands that name none; its token is kept in the store, readable by its owner only."""
        self.make()
        kept = self.root / _COMMAND_LINE
        if kept.exists() and not _TOKEN.fullmatch(kept.read_text(errors="replace").strip()):
            # What a power cut left of it opens nothing.
            kept.unlink()
        if not kept.exists():
            fresh = kept.with_name(f".{kept.name}.{new_id()}")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(new_token())
            try:
                # A link, unlike a rename, leaves the token of another command that was quicker.
                kept.hardlink_to(fresh)
            except FileExistsError:
                return self.workspace(kept.read_text().strip())
            finally:
                fresh.unlink()
        return self.workspace(kept.read_text().strip())


def children(folder: Path) -> list[Path]:
    """What lies in `folder`; nothing where it is not there."""
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _entries(folder: Path) -> list[Path]:
    return [path for path in children(folder) if _ID.fullmatch(path.name) and JobFolder(path).exists]


def _newest_first(jobs: list[_Job]) -> list[_Job]:
    return sorted(jobs, key=lambda job: (job.created, job.id), reverse=True)
