"""What may still be written: the budget of a workspace (GRAFT_WORKSPACE_GB), and the space that stays free (GRAFT_FREE_GB).

Where the disk is low, the least recently used entries of the cache make way first.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tl_core import locks, settings
from tl_core.disk import BLOCK, in_words, require_spare, spare
from tl_core.errors import InUse, OverBudget
from tl_core.runs.store.store import Store, Workspace
from tl_core.runs.store.usage import used

_PATIENCE = 30.0
"""Seconds to wait for another upload of the same workspace, which is written to the disk just now."""
_DISK_LOOK = 64_000_000
"""Bytes that a job writes before it looks again at the space of the disk."""
_BUDGET_LOOKS = 20
"""How often a job that fills a whole budget looks at what other jobs of the workspace wrote: measuring all files takes a while."""


def require_free(store: Store, needed: int = 0) -> None:
    """Check that the disk keeps its free space beside `needed` bytes; old entries of the cache go where that suffices.

    Raises:
        DiskFull: it does not.
    """
    floor = settings.current().free_bytes
    if spare(store.root, floor) < needed:
        store.cache.make_way(needed)
    require_spare(store.root, floor, needed, "new data sets and jobs")


@contextmanager
def room_for(workspace: Workspace, needed: int = 0, *, promised: int = 0) -> Iterator[None]:
    """Check that there is room for `needed` bytes that the block writes, and those `promised` to the job that it makes.

    Nobody else adds to the workspace meanwhile. A job at work counts with what it was promised (`usage.used`).

    Raises:
        OverBudget: they do not fit the workspace's budget; the message says what takes most.
        DiskFull: they do not fit the disk.
        InUse: an upload of this workspace is written at the same time, and takes long.
    """
    require_free(workspace.store, needed)
    if not settings.current().workspace_bytes:
        yield
        return
    workspace.make()
    held = locks.take(workspace.path / "budget", patience=_PATIENCE)
    if held is None:
        raise InUse("Another upload of this workspace is being stored. Try again when it is done.")
    try:
        require_budget(workspace, needed + promised)
        yield
    finally:
        locks.release([held])


class Allowance:
    """Counts what a job writes into its workspace, from any thread, and stops it where the budget or the disk ends."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._lock = threading.Lock()
        self._on_disk = self._in_budget = 0
        """Bytes that may be written before the next look."""

    def __call__(self, size: int) -> None:
        """Note that a file of `size` bytes, or a part of one, is about to be written. Raises OverBudget, DiskFull."""
        size = max(size, BLOCK)
        with self._lock:
            if size > self._on_disk:
                require_free(self._workspace.store, size)
                self._on_disk = size + _DISK_LOOK
            if size > self._in_budget:
                left = require_budget(self._workspace, size)
                self._in_budget = min(left, size + settings.current().workspace_bytes // _BUDGET_LOOKS)
            self._on_disk -= size
            self._in_budget -= size


def require_budget(workspace: Workspace, needed: int = 0) -> int:
    """The bytes that `workspace` may still take, which are at least `needed`. Raises OverBudget."""
    budget = settings.current().workspace_bytes
    if not budget:
        return needed
    use = used(workspace)
    left = budget - use.total
    if left < needed:
        named = [f"{job.what} {job.name!r} ({in_words(size)})" for job, size in use.largest(2)]
        largest = f" Most is taken by the {' and the '.join(named)}." if named else ""
        wanted = f", and this takes {in_words(needed)} more" if needed else ""
        raise OverBudget(
            f"This workspace takes {in_words(use.total)} of the {in_words(budget)} that it may have{wanted}. "
            f"Delete data sets or runs that you no longer need, and start again.{largest}"
        )
    return left
