"""For the operator: who takes how much of a store, and what can go. Tokens are shortened, so that they open nothing."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from types import MappingProxyType

from tl_core.disk import BLOCK, size_of
from tl_core.errors import NotFound, SpecError
from tl_core.models.weights.downloaded import downloads
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store, Workspace
from tl_core.runs.store.sweep import remove_upload, unread_uploads
from tl_core.runs.store.usage import Use, used

_DIGITS = 6
"""Fewest digits of a token that stand for a workspace; 26 others are left to guess."""
_DAY = 86_400.0


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
    workspaces = store.workspaces()
    names = _names(workspaces)
    found = [Account(names[one.token], one, used(one), one.live()) for one in workspaces]
    return sorted(found, key=lambda account: account.use.total, reverse=True)


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
    workspaces = store.workspaces()
    found = [workspace for workspace in workspaces if workspace.token.startswith(digits)]
    if not found:
        raise NotFound(f"No workspace of this store begins with {digits[:_DIGITS]}. `store` lists them.")
    if len(found) > 1:
        raise SpecError(f"{len(found)} workspaces begin with {digits}. Give as many digits as `store` shows.")
    return Removable(_names(workspaces)[found[0].token], used(found[0]).total, found[0].delete)


def _names(workspaces: list[Workspace]) -> dict[str, str]:
    """Names of workspaces by their tokens."""
    tokens = sorted(workspace.token for workspace in workspaces)
    alike = [0, *(_common(one, other) for one, other in pairwise(tokens)), 0]
    return {token: token[: max(_DIGITS, 1 + max(alike[at : at + 2]))] for at, token in enumerate(tokens)}


def _common(one: str, other: str) -> int:
    return next(at for at in range(len(one)) if one[at] != other[at])


def _idle(store: Store, since: float) -> list[Removable]:
    workspaces = store.workspaces()
    names = _names(workspaces)
    idle = [workspace for workspace in workspaces if workspace.last_used() < since]
    return [Removable(names[one.token], used(one).total, one.delete) for one in idle]


def _uploads(store: Store, since: float) -> list[Removable]:
    workspaces = store.workspaces()
    names = _names(workspaces)
    return [
        Removable(
            f"an upload of {names[workspace.token]}",
            size_of(upload, least=BLOCK),
            partial(remove_upload, workspace, upload),
        )
        for workspace in workspaces
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
        Removable(f"{one.origin.network}:{one.origin.weights}", one.bytes, one.remove)
        for one in downloads()
        if one.used < since and not one.in_use
    ]


def _unreadable(store: Store, since: float) -> list[Removable]:
    workspaces = store.workspaces()
    names = _names(workspaces)
    return [
        Removable(
            f"{job.path.parent.name}/{job.id} of {names[workspace.token]}", size_of(job.path, least=BLOCK), job.delete
        )
        for workspace in workspaces
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
