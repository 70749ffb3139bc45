"""Makes the folder of a job: whole when it appears, and only once for the same key. Sweeps the store before that, once an hour."""

import errno
import hashlib
import os
from pathlib import Path

from tl_core import locks, settings
from tl_core.disk import disk_full_said, remove
from tl_core.documents.tasks import JobSpec
from tl_core.errors import InUse, NotEmpty, SpecError, StoreError
from tl_core.runs.store.job_folder import JobFolder, keep_reserve
from tl_core.runs.store.store import Store, Workspace, new_id
from tl_core.runs.store.sweep import sweep_hourly


def swept(workspace: Workspace) -> Store:
    """Mark `workspace` as used, sweep its store if nobody did so within the hour, and return the store."""
    workspace.touch()
    sweep_hourly(workspace.store, settings.current().keep_days)
    return workspace.store


def identifier(key: str | None) -> str:
    """The same id for the same key, so that the file system itself lets only one of two jobs come to be."""
    return new_id() if key is None else hashlib.sha256(key.encode()).hexdigest()[:16]


def make(folder: Path, spec: JobSpec) -> tuple[Path, int | None]:
    """Make the folder of the job that `spec` asks for, which is whole when it appears, and the claim to submit it (`JobFolder.claim`).

    There is no claim where the job is there already: who made it submits it.
    """
    if folder.is_dir():
        return folder, None
    fresh = folder.with_name(f".new-{new_id()}")
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
    claim = locks.take(folder / "submitted")
    if claim is None:
        raise InUse(f"Somebody else is using {folder}.")
    try:
        (folder / "lock").touch(0o600)
        keep_reserve(folder / "reserve")
        JobFolder(folder).write_spec(spec)
    except BaseException:
        locks.release([claim])
        raise
    return claim
