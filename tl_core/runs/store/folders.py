"""The four kinds of job as folders: a data set, a run, a race, a task."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from tl_core import locks, settings
from tl_core.disk import read_once, remove
from tl_core.documents.events import STOPPED
from tl_core.documents.manifest import ImageEntry, Manifest
from tl_core.documents.report import Headline, Report
from tl_core.documents.spec import IngestSpec, RaceSpec, TrainSpec
from tl_core.documents.tasks import Answer, Task, TaskSpec
from tl_core.errors import DocumentError, InUse, NotFound, SpecError
from tl_core.runs.store.job_folder import DIED, RACES, In, JobFolder
from tl_core.runs.store.version_files import Versions
from tl_core.serving.bundle_files import FOLDER

if TYPE_CHECKING:
    from tl_core.documents.arrays import Checkpoint, Embeddings, OutOfFoldAnswers

Answered = TypeVar("Answered", bound=Answer)
_RACE_DIED = (
    "It was interrupted: its worker ended in the middle, with the app, because it was killed, or because memory ran out. "
    "The runs that had ended are whole. Let the race go on with those that are missing."
)
_NOT_BEGUN = "Its race ended before its turn came. Let the race go on, or train it by itself."
_AGAIN = "Start it again."
_DIED_WITH_BEST = DIED.removesuffix(_AGAIN) + "Start it again, or finish with the best so far."
_DIED_WITH_CHECKPOINT = (
    DIED.removesuffix(_AGAIN) + "Go on from the last checkpoint, start it again, or finish with the best so far."
)

StartState = Literal["best", "checkpoint", "delivered", "nothing"]
_NO_CHECKPOINT = (
    "This run has no checkpoint to go on from: it was stopped before its first one, or learns nothing epoch by epoch. "
    "Start it again; what is in the cache is not computed again."
)
UNUSABLE_CHECKPOINT = "The checkpoint of this run cannot be used, so it cannot go on: {problem} Finish it with the best so far, or start it again."


@dataclass(frozen=True)
class DatasetFolder(JobFolder):
    """A data set, read or being read, in one of its versions."""

    version: int | None = None
    """Number of the version; None: the current one, whichever that is at the moment."""
    what = "data set"
    stored_in = "datasets"
    manifest_file = In("manifest.json")
    """What was read: version 1."""
    staging = In("staging")
    """What was unpacked for it, until it was read."""
    use_lock = In("in_use")
    """Lock that every run and task that needs it holds, shared."""

    @property
    def versions(self) -> Versions:
        return Versions(self.path)

    @property
    def number(self) -> int:
        """Number of this version. Raises DocumentError."""
        return self.versions.current if self.version is None else self.version

    def at(self, version: int) -> DatasetFolder:
        """The same data set in that version."""
        return replace(self, version=version)

    def delete(self) -> None:
        """Remove it for good, and what the cache keeps of its pictures. Raises InUse, in words, where a job needs it."""
        origins = self.origins()
        super().delete()
        forget(self.workspace_folder.parents[1], origins)

    def origins(self) -> list[str]:
        """Prefixes of the cache keys of all that was computed from its pictures. Empty for a sample, whose pictures are public."""
        from tl_core.data.pixel_arrays import origin

        try:
            if self.spec().source_kind == "sample":
                return []
        except (NotFound, DocumentError):
            return []
        found = []
        for number in (1, *self.versions.made()):
            with suppress(NotFound, DocumentError):
                found.append(origin(self.versions.manifest(number)))
        return list(dict.fromkeys(found))

    @property
    def ready(self) -> bool:
        # Also while pictures are added to it, and when that came to nothing.
        return self.manifest_file.is_file()

    def tidy(self) -> None:
        # In this order: a worker that has ended between the two looks has written the manifest, or never will.
        if self.alive() or (self.ready and not self.versions.unpublished() and not self.staging.exists()):
            return
        # Claimed, so that no pictures are added meanwhile; somebody may have deleted it.
        with suppress(FileNotFoundError):
            claim = self.claim()
            if claim is not None:
                try:
                    self.discard_unfinished()
                finally:
                    locks.release([claim])

    def discard_unfinished(self) -> None:
        """Remove the pictures that no version holds, and what was unpacked for them, for a caller that holds the lock or the claim."""
        remove(self.staging)
        if self.ready:
            self.versions.discard_unpublished()
            return
        for folder in ("images", "thumbnails"):
            remove(self.path / folder)

    def spec(self) -> IngestSpec:
        return self.spec_as(IngestSpec)

    def manifest(self) -> Manifest:
        """What this version holds. Raises NotFound where it was not read to the end or has no such version, DocumentError."""
        return self.versions.manifest(self.number)

    def require_read(self) -> None:
        """Raises SpecError where it was not read to the end."""
        if not self.ready:
            raise SpecError(f"The data set {self.name!r} was not read to the end. Read it again, then train on it.")

    def hold(self) -> int:
        """Hold it, so that it is not deleted while a job needs it; the descriptor to release.

        Raises:
            SpecError: it was not read to the end.
            NotFound: somebody is deleting it.
        """
        self.require_read()
        held = locks.take(self.use_lock, shared=True)
        if held is None:
            raise NotFound(f"The data set {self.name!r} is being deleted.")
        return held

    def image(self, entry: ImageEntry) -> Path:
        """The normalised copy, longest side at most 1024 pixels."""
        return self.path / "images" / entry.file

    def thumbnail(self, entry: ImageEntry) -> Path:
        """A JPEG, longest side 256 pixels."""
        return self.path / "thumbnails" / f"{Path(entry.file).stem}.jpg"

    def _needed_by(self) -> list[tuple[Path, str]]:
        problem = f"A job that has not ended needs {self.name!r}. Cancel the run, or wait until it ended."
        # A job that waits in an executor has no worker yet that could hold the lock.
        for submitted in self.workspace_folder.glob("*/*/submitted"):
            job = JobFolder(submitted.parent)
            about = job.spec().about if job.waits() else None
            if about and about.dataset == self.id:
                raise InUse(problem)
        return [*super()._needed_by(), (self.use_lock, problem)]


class RunFolder(JobFolder):
    """A training run; also what `--out DIR` is."""

    what = "run"
    stored_in = "runs"
    bundle = In(FOLDER)
    report_file = In("report.json")
    split_file = In("split.json")
    """In which part each picture is, from the start of the run on."""
    out_of_fold_file = In("out_of_fold.npz")
    """Answers of cross-validation, where there was one."""
    embeddings_file = In("embeddings.npz")
    """Embeddings of its pictures by the delivered network, once something needed them."""
    best = In("best.safetensors")
    """The best state so far, written during training; absent where nothing is trained step by step."""
    checkpoint_file = In("checkpoint.safetensors")
    """The state after an epoch, from which training goes on; until the run has ended well."""
    start_file = In("start.safetensors")
    """What another run delivered, where it trains on from that; until it has ended well."""
    finish_file = In("finish")
    """Skip training, and deliver the best state."""
    delivers_in = frozenset({"export", "evaluation"})

    def spec(self) -> TrainSpec:
        return self.spec_as(TrainSpec)

    def report(self) -> Report:
        """Raises NotFound where it did not end well, DocumentError."""
        return Report.read(self.report_file)

    def out_of_fold(self) -> OutOfFoldAnswers:
        """What the heads of its cross-validation answered. Raises NotFound where there was none, DocumentError."""
        from tl_core.documents.arrays import OutOfFoldAnswers

        return OutOfFoldAnswers.read(self.out_of_fold_file)

    def embeddings(self) -> Embeddings:
        """Those of its pictures by the delivered network. Raises NotFound where nothing has needed them yet, DocumentError."""
        from tl_core.documents.arrays import Embeddings

        return Embeddings.read(self.embeddings_file)

    def headline(self) -> Headline:
        """How good it is, for a list of runs. Raises NotFound where it did not end well, DocumentError."""
        return _headline(self.report_file)

    @property
    def starts_from(self) -> StartState:
        """The state that its worker starts from: the first that there is of the best state, if it is to finish with that, the checkpoint,
        and what another run delivered."""
        if self.finishing:
            return "best"
        if self.checkpoint_file.is_file():
            return "checkpoint"
        return "delivered" if self.start_file.is_file() else "nothing"

    def checkpoint(self) -> Checkpoint:
        """How far training had come when its state was written last. Raises NotFound where it was not, DocumentError, in words."""
        from tl_core.documents.arrays import Checkpoint

        try:
            return Checkpoint.read_from(self.checkpoint_file)
        except NotFound:
            raise NotFound(_NO_CHECKPOINT) from None
        except DocumentError as error:
            raise DocumentError(UNUSABLE_CHECKPOINT.format(problem=error.message)) from error

    def can_resume(self) -> bool:
        """Whether it ended before its end, and "go on" has something to go on from."""
        return self.checkpoint_file.is_file() and self.status().state in STOPPED

    @property
    def finishing(self) -> bool:
        return self.finish_file.exists()

    def finish_early(self) -> bool:
        if self.finishing or not self.best.is_file():
            return False
        self.finish_file.touch()
        return True

    def can_finish(self) -> bool:
        """Whether "finish with the best so far" has something to finish with."""
        return self.best.is_file() and self.status().state in STOPPED

    def tidy(self) -> None:
        if not self.alive():
            self.discard_half_written()

    def discard_half_written(self) -> None:
        """Remove states that a worker was writing when it was killed; those that it had written stay. For a caller that holds the lock."""
        for file in (self.best, self.checkpoint_file):
            for half in self.path.glob(f".{file.name}.*"):
                remove(half)

    def _died(self) -> str:
        if self.waits_in:
            return _NOT_BEGUN
        if self.checkpoint_file.is_file():
            return _DIED_WITH_CHECKPOINT
        return _DIED_WITH_BEST if self.best.is_file() else DIED


class RaceFolder(JobFolder):
    """A race: several runs that one worker trains one after the other, and how they stand."""

    what = "race"
    stored_in = RACES

    def spec(self) -> RaceSpec:
        return self.spec_as(RaceSpec)

    def parts(self) -> tuple[RunFolder, ...]:
        """Its runs, also those that were deleted, in the order in which they were named."""
        runs = self.workspace_folder / RunFolder.stored_in
        return tuple(RunFolder(runs / each.run) for each in self.spec().contestants)

    def discard(self) -> None:
        """As that of every job; its runs that never began go with it, the others stay."""
        never_began = [run for run in self.parts() if not run.status_file.exists()]
        super().discard()
        for run in never_began:
            with suppress(InUse):
                run.delete()

    def _died(self) -> str:
        return _RACE_DIED


class TaskFolder(JobFolder):
    """A task that was asked as a job, and its answer."""

    what = "task"
    stored_in = "tasks"
    result_file = In("result.json")
    """The answer, written last."""

    def spec(self) -> TaskSpec:
        return self.spec_as(Task)  # type: ignore[return-value]  # every task is named in TaskSpec

    def answer(self, document: type[Answered]) -> Answered | None:
        """The answer; None until the job succeeded. Raises NotFound, DocumentError."""
        return document.read(self.result_file) if self.status().state == "succeeded" else None

    def _own_name(self) -> str:
        return self.spec().title


def open_job(path: Path) -> DatasetFolder | RunFolder | RaceFolder | TaskFolder:
    """The job folder at `path`, as what its spec says it is. Raises NotFound, DocumentError."""
    match JobFolder(path).spec():
        case IngestSpec():
            return DatasetFolder(path)
        case TrainSpec():
            return RunFolder(path)
        case RaceSpec():
            return RaceFolder(path)
        case _:
            return TaskFolder(path)


def forget(store: Path, origins: Iterable[str]) -> None:
    """Remove from the cache of `store` what was computed from pictures that are deleted."""
    from tl_core.data.cache import Cache

    for origin in origins:
        Cache(store / "cache", settings.current().cache_bytes).forget(origin)


_headline = read_once(1000)(Headline.read)
