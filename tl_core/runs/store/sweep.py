"""What nobody needs any more: removed by itself, once an hour, or where the operator clears it; and who takes how much of a store.

Tokens are shortened, so that they open nothing.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType

from tl_core import locks
from tl_core.disk import BLOCK, modified, remove, size_of
from tl_core.errors import GraftError, InUse, NotFound, SpecError
from tl_core.models.weights.downloaded import downloads
from tl_core.runs.store.budgets import Use, used
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import KINDS, Store, Workspace, children

_HOUR, _DAY = 3_600.0, 86_400.0
_DIGITS = 6
"""Fewest digits of a token that stand for a workspace; 26 others are left to guess."""
_MARKER = "swept"
"""File of the store whose time tells when it was swept last; it is locked while one is sweeping for the hour."""
_LOG = logging.getLogger(__name__)


def sweep_hourly(store: Store, keep_days: float) -> list[str]:
    """As `sweep`; nothing where a process that shares the store has swept within the hour, or is sweeping now."""
    marker = store.root / _MARKER
    if not store.root.is_dir() or abs(time.time() - modified(marker)) < _HOUR:
        return []
    with locks.holding(marker, patience=0.0) as turn:
        return sweep(store, keep_days) if turn else []


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
        (store.root / _MARKER).touch(0o600)
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


@dataclass(frozen=True)
class Account:
    """What one workspace takes."""

    name: str
    """The first digits of its token, as many as tell it from the others."""
    workspace: Workspace
    use: Use
    at_work: list[JobFolder]
    """Its jobs that have not ended."""


@dataclass(frozen=True)
class Removable:
    """Something that can go."""

    name: str
    bytes: int
    remove: Callable[[], object]
    """Raises InUse, in words, where a job needs it by now."""


@dataclass(frozen=True, kw_only=True)
class Clearing:
    """One kind of what can go."""

    meaning: str
    """`{days}` in it stands for the days."""
    days: float
    """Days without use after which it goes, unless the operator names others."""
    find: Callable[[Store, float], list[Removable]]
    """What was not used since a moment, in seconds since the epoch."""

    def said(self, days: float | None = None) -> str:
        """What it is, in words."""
        number = self.days if days is None else days
        return self.meaning.format(days="1 day" if number == 1 else f"{number:g} days")

    def now(self, store: Store, days: float | None = None) -> list[Removable]:
        """What can go now."""
        return self.find(store, time.time() - (self.days if days is None else days) * _DAY)


def accounts(store: Store) -> list[Account]:
    """Every workspace of `store`, the one that takes most first."""
    every = [Account(name, workspace, used(workspace), workspace.live()) for workspace, name in _named(store).items()]
    return sorted(every, key=lambda account: account.use.total, reverse=True)


def at_work(store: Store) -> Mapping[str, int]:
    """How many jobs of `store` wait and run, by their state."""
    return Counter(job.status().state for workspace in store.workspaces() for job in workspace.live())


def workspace_of(store: Store, digits: str) -> Removable:
    """The workspace whose token begins with `digits`.

    Raises:
        NotFound: there is none.
        SpecError: there are several, or too few digits.
    """
    if len(digits) < _DIGITS:
        raise SpecError(
            f"{digits!r} is neither {', '.join(CLEARINGS)} nor the first {_DIGITS} digits of a workspace; `store` lists them."
        )
    matching = {workspace: name for workspace, name in _named(store).items() if workspace.token.startswith(digits)}
    if not matching:
        raise NotFound(f"No workspace of this store begins with {digits[:_DIGITS]}. `store` lists them.")
    if len(matching) > 1:
        raise SpecError(f"{len(matching)} workspaces begin with {digits}. Give as many digits as `store` shows.")
    ((workspace, name),) = matching.items()
    return Removable(name, used(workspace).total, workspace.delete)


def _named(store: Store) -> dict[Workspace, str]:
    """The workspaces of `store`, each with the first digits of its token, as many as tell it from the others."""
    workspaces = sorted(store.workspaces(), key=lambda workspace: workspace.token)
    alike = [_common(one.token, other.token) for one, other in pairwise(workspaces)]
    return {
        workspace: workspace.token[: max(_DIGITS, 1 + max(before, after))]
        for workspace, before, after in zip(workspaces, [0, *alike], [*alike, 0], strict=True)
    }


def _common(one: str, other: str) -> int:
    """How many digits two tokens begin with alike."""
    return next(at for at in range(len(one)) if one[at] != other[at])


def _idle(store: Store, since: float) -> list[Removable]:
    return [
        Removable(name, used(workspace).total, workspace.delete)
        for workspace, name in _named(store).items()
        if workspace.last_used() < since
    ]


def _uploads(store: Store, since: float) -> list[Removable]:
    return [
        Removable(f"an upload of {name}", size_of(upload, least=BLOCK), partial(remove_upload, workspace, upload))
        for workspace, name in _named(store).items()
        for upload in unread_uploads(workspace, since=since)
    ]


def _cache(store: Store, since: float) -> list[Removable]:
    # A job marks what it uses, so what was not used since the oldest job at work was made, none of them uses.
    begun = [job.created for workspace in store.workspaces() for job in workspace.live()]
    cache = store.cache
    return [
        Removable(f"{entry.path.parent.name}/{entry.path.name}", entry.bytes, partial(cache.drop, entry))
        for entry in cache.unused(min([since, *begun]))
    ]


def _weights(store: Store, since: float) -> list[Removable]:
    del store  # weights are found by the settings, as the store is
    return [
        Removable(f"{download.origin.network}:{download.origin.weights}", download.bytes, download.remove)
        for download in downloads()
        if download.used < since and not download.in_use
    ]


def _unreadable(store: Store, since: float) -> list[Removable]:
    return [
        Removable(f"{job.path.parent.name}/{job.id} of {name}", size_of(job.path, least=BLOCK), job.delete)
        for workspace, name in _named(store).items()
        for job in workspace.unreadable()
        if job.created < since
    ]


CLEARINGS: Mapping[str, Clearing] = MappingProxyType(
    {
        "idle": Clearing(meaning="workspaces that nobody used for {days}", days=30, find=_idle),
        "uploads": Clearing(meaning="uploads that were not read within {days}", days=1, find=_uploads),
        "unreadable": Clearing(meaning="what this version of Graft cannot read", days=0, find=_unreadable),
        "cache": Clearing(meaning="what can be computed again", days=0, find=_cache),
        "weights": Clearing(meaning="weights that can be downloaded again", days=0, find=_weights),
    }
)
"""What the operator can clear, by name."""
