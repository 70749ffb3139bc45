"""How many bytes a workspace takes on the disk. What does not change any more is measured once in a process.

Each file and folder counts with at least one block of the disk: otherwise a budget would hold tiny files without end.
"""

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tl_core.disk import BLOCK, size_of
from tl_core.documents.spec import TrainSpec
from tl_core.errors import GraftError
from tl_core.runs.store.folders import RunFolder
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Workspace, children

_TENSOR_COPIES = 3
"""A run keeps its network as a graph and as tensors, and until it has ended the best state so far."""
_LEARNING_COPIES = 4
"""Its checkpoint keeps of each parameter that learns the value, two moments and an average."""
_FEW = 50
"""Parameters of a stage for each of them that learns where only biases and norms do, or low-rank updates."""


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

    def largest(self, count: int) -> list[tuple[JobFolder, int]]:
        """The jobs that take most."""
        return sorted(self.jobs.items(), key=lambda taken: taken[1], reverse=True)[:count]


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
    from tl_core.training.strategies.strategies import strategies

    chosen = strategies().get(spec.strategy)
    if chosen is None or not chosen.takes_steps:
        return 0
    first = len(stage_parameters) - spec.stages if chosen.learns == "last" else 0
    every = sum(stage_parameters[max(0, first) :])
    return every // _FEW if chosen.parameters.few else every


def _bytes(job: JobFolder, beside: tuple[str, ...] | None) -> int:
    if beside is not None and not job.alive():
        return _at_rest(job.path, _moment(job.path), _moment(job.status_file), beside)
    found = size_of(job.path, least=BLOCK)
    if isinstance(job, RunFolder):
        with suppress(GraftError):
            spec = job.spec()
            dataset = Workspace(job.workspace_folder).dataset(spec.dataset, spec.version)
            return max(found, expected_bytes(spec, len(dataset.manifest().images)))
    return found


@lru_cache(maxsize=16_384)
def _at_rest(folder: Path, changed: int, ended: int, beside: tuple[str, ...]) -> int:
    """Bytes of the folder of a job that does not work, as long as it does not work again."""
    del changed, ended, beside  # the cache's key
    return size_of(folder, least=BLOCK)


def _moment(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
