"""How many bytes a workspace takes, and what may still be written: its budget (GRAFT_WORKSPACE_GB), and the space that stays free
(GRAFT_FREE_GB).

Each file and folder counts with at least one block of the disk: otherwise a budget would hold tiny files without end. What does not change
any more is measured once in a process. Where the disk is low, the least recently used entries of the cache make way first.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tl_core import locks, settings
from tl_core.disk import BLOCK, in_words, read_once, require_spare, size_of, spare
from tl_core.documents.spec import TrainSpec
from tl_core.errors import GraftError, InUse, OverBudget
from tl_core.runs.store.folders import RunFolder
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store, Workspace, children

_PATIENCE = 30.0
"""Seconds to wait for another upload of the same workspace, which is written to the disk just now."""
_DISK_LOOK = 64_000_000
"""Bytes that a job writes before it looks again at the space of the disk."""
_BUDGET_LOOKS = 20
"""How often a job that fills a whole budget looks at what other jobs of the workspace wrote: measuring all files takes a while."""
_TENSOR_COPIES = 3
"""A run keeps its network as a graph and as tensors, and until it has ended the best state so far."""
_LEARNING_COPIES = 4
"""Its checkpoint keeps of each parameter that learns the value, two moments and an average."""
_FEW = 50
"""Parameters of a stage for each of them that learns where only biases and norms do, or low-rank updates."""


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
    with locks.holding(workspace.path / "budget", patience=_PATIENCE) as alone:
        if not alone:
            raise InUse("Another upload of this workspace is being stored. Try again when it is done.")
        require_budget(workspace, needed + promised)
        yield


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
        largest_first = sorted(use.jobs.items(), key=lambda job_and_size: job_and_size[1], reverse=True)
        named = [f"{job.what} {job.name!r} ({in_words(size)})" for job, size in largest_first[:2]]
        largest = f" Most is taken by the {' and the '.join(named)}." if named else ""
        wanted = f", and this takes {in_words(needed)} more" if needed else ""
        raise OverBudget(
            f"This workspace takes {in_words(use.total)} of the {in_words(budget)} that it may have{wanted}. "
            f"Delete data sets or runs that you no longer need, and start again.{largest}"
        )
    return left


@dataclass(frozen=True)
class Use:
    """Bytes that a workspace takes; those of a job that has not ended are at least those that it is expected to write."""

    jobs: dict[JobFolder, int]
    """Every data set, run, race and task."""
    rest: int
    """Uploads that are not read yet, and what is half made or half deleted."""

    @property
    def total(self) -> int:
        return sum(self.jobs.values()) + self.rest

    def of(self, stored_in: str) -> int:
        """Bytes of the jobs of one kind, named by its folder."""
        return sum(size for job, size in self.jobs.items() if job.stored_in == stored_in)


def used(workspace: Workspace) -> Use:
    """What `workspace` takes now."""
    datasets = workspace.datasets()
    # Pictures that two data sets have in common are one file: another data set changes the share of each.
    beside = None if any(dataset.alive() for dataset in datasets) else tuple(dataset.id for dataset in datasets)
    jobs: dict[JobFolder, int] = {dataset: _bytes(dataset, beside) for dataset in datasets}
    jobs |= {job: _bytes(job, ()) for job in (*workspace.runs(), *workspace.races(), *workspace.tasks())}
    counted = {job.path for job in jobs}
    others = [path for folder in children(workspace.path) for path in children(folder) if path not in counted]
    return Use(jobs, sum(size_of(path, least=BLOCK) for path in others))


def expected_bytes(spec: TrainSpec, images: int) -> int:
    """The size of a run with `spec` on so many images while it works: its bundle, the best state, where stages learn the checkpoint, and
    the embeddings in float16."""
    from tl_core.models.registry import network

    backbone = network(spec.backbone)
    tensors = _TENSOR_COPIES * backbone.parameters + _LEARNING_COPIES * _learning(spec, backbone.stage_parameters)
    return 4 * tensors + 2 * backbone.embedding_size * images


def _learning(spec: TrainSpec, stage_parameters: tuple[int, ...]) -> int:
    """About how many parameters of stages learn at some time; 0 where the strategy is not settled yet."""
    from tl_core.training.strategies.strategies import stage_rates, strategies

    chosen = strategies().get(spec.strategy)
    if chosen is None:
        return 0
    rates = stage_rates(chosen, len(stage_parameters), spec.stages)
    every = sum(parameters for parameters, rate in zip(stage_parameters, rates, strict=True) if rate is not None)
    return every // _FEW if chosen.parameters.few else every


def _bytes(job: JobFolder, beside: tuple[str, ...] | None) -> int:
    if beside is not None and not job.alive():
        return _at_rest(job.path, beside)
    taken = size_of(job.path, least=BLOCK)
    if isinstance(job, RunFolder):
        with suppress(GraftError):
            spec = job.spec()
            dataset = Workspace(job.workspace_folder).dataset(spec.dataset, spec.version)
            return max(taken, expected_bytes(spec, len(dataset.manifest().images)))
    return taken


@read_once(16_384)
def _at_rest(folder: Path, beside: tuple[str, ...]) -> int:
    """Bytes of the folder of a job that does not work: the file with its state, which is replaced whenever it did, lies in it."""
    del beside  # pictures that other data sets have as well count in part
    return size_of(folder, least=BLOCK)
