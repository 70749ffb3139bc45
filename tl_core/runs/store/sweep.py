"""Removes what nobody needs any more: idle workspaces, and what broken-off work left behind."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tl_core import locks
from tl_core.disk import modified, remove
from tl_core.errors import GraftError, InUse
from tl_core.runs.store.store import KINDS, Store, Workspace, children

_HOUR, _DAY = 3_600.0, 86_400.0
_DIGITS = 6
"""Digits of a token that are logged, which open nothing."""
_LOG = logging.getLogger(__name__)


def sweep_hourly(store: Store, keep_days: float) -> list[str]:
    """As `sweep`; nothing where a process that shares the store has swept within the hour, or is sweeping now."""
    marker = _marker(store)
    if not store.root.is_dir() or abs(time.time() - modified(marker)) < _HOUR:
        return []
    turn = locks.take(marker, patience=0.0)
    if turn is None:
        return []
    try:
        return sweep(store, keep_days)
    finally:
        locks.release([turn])


def sweep(store: Store, keep_days: float) -> list[str]:
    """Remove workspaces that were idle for `keep_days` (0: none), forsaken ones, and what broken-off work left behind.

    A workspace with a job at work is never removed. Returns the tokens of those removed.
    """
    now = time.time()
    removed = []
    try:
        for workspace in store.workspaces():
            with _by_itself(f"workspace {workspace.token[:_DIGITS]}"):
                if workspace.forsaken() or (keep_days and now - workspace.last_used() > keep_days * _DAY):
                    workspace.delete()
                    removed.append(workspace.token)
                else:
                    _clear(workspace, now)
        for path in children(store.root / "workspaces"):
            if path.name.startswith(".deleted-"):
                with _by_itself(path.name):
                    remove(path)
        for ticket in store.queue.glob("*/.new-*"):
            # Its job was killed while it joined the queue.
            if now - modified(ticket) > _HOUR:
                with _by_itself(ticket.name):
                    ticket.unlink(missing_ok=True)
    finally:
        # Also after an error: otherwise every page would begin the sweep again.
        _marker(store).touch(0o600)
    return removed


@contextmanager
def _by_itself(name: str) -> Iterator[None]:
    """Go on after whatever is wrong with what is called `name` and holds what strangers brought: the sweep belongs to everybody."""
    try:
        yield
    except GraftError:
        # Whoever uses the workspace meets it, in words.
        pass
    except Exception as error:  # noqa: BLE001 - something unforeseen in one workspace must not stop the app for all others
        # Its text could hold the workspace's token.
        reason = error.strerror if isinstance(error, OSError) else type(error).__name__
        _LOG.error("The sweep left %s as it is: %s", name, reason)


def _marker(store: Store) -> Path:
    """The file whose time tells when the store was swept last; it is locked while one is sweeping for the hour."""
    return store.root / "swept"


def _clear(workspace: Workspace, now: float) -> None:
    """Remove half-deleted and half-made jobs, pictures of data sets that were not read to the end, tasks that nobody needs, and
    uploads that nobody read within a day.
    """
    for kind in KINDS:
        for path in children(workspace.path / kind):
            half_made = path.name.startswith(".new-") and now - modified(path) > 3600
            if path.name.startswith(".deleted-") or half_made:
                remove(path)
    for dataset in workspace.datasets():
        dataset.tidy()
    _clear_tasks(workspace, now)
    for upload in unread_uploads(workspace, since=now - _DAY):
        remove(upload)


def unread_uploads(workspace: Workspace, *, since: float) -> list[Path]:
    """Folders of uploads that nobody added to since then (seconds since the epoch), and that no job at work reads.

    None while the spec of a job at work cannot be read: it may be that of another version, or of a data set that is being deleted.
    """
    if any(job.alive() for job in workspace.unreadable()):
        return []
    try:
        needed = {Path(job.spec().source) for job in workspace.datasets() if job.alive()}
    except GraftError:
        return []
    return [
        path
        for path in children(workspace.path / "staging")
        if modified(path) < since and not any(path == source or path in source.parents for source in needed)
    ]


def remove_upload(workspace: Workspace, upload: Path) -> None:
    """Remove the folder of an upload. Raises InUse where a job reads it by now."""
    if upload.exists() and upload not in unread_uploads(workspace, since=float("inf")):
        raise InUse("A job reads this upload. Wait until it has ended.")
    remove(upload)


def _clear_tasks(workspace: Workspace, now: float) -> None:
    """Remove tasks that ended and that nobody asked for within a day, or whose data set or run is gone."""
    datasets = {dataset.id for dataset in workspace.datasets()}
    runs = {None, *(run.id for run in workspace.runs())}
    for task in workspace.tasks():
        try:
            about = task.spec().about
            orphan = about is not None and (about.dataset not in datasets or about.run not in runs)
        except GraftError:
            orphan = True
        if orphan or now - modified(task.path) > _DAY:
            with suppress(InUse):
                task.delete()
