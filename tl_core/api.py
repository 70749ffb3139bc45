"""`tl_core.train` and `tl_core.load`, and what they share with the command line: checks before a job, and its end.

`train` runs jobs as the app does: a worker process reads the pictures, another one trains, and their folders keep the record.
"""

from __future__ import annotations

import os
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar, cast, get_args

from tl_core.documents.events import Event
from tl_core.documents.options import (
    BATCH_SIZE,
    DEFAULT_NETWORK,
    OPTIONS,
    Device,
    Level,
    Optimizer,
    Schedule,
    Solver,
    TrainingOptions,
    by_current_names,
)
from tl_core.documents.spec import ClassesFrom
from tl_core.errors import Cancelled, GraftError, InUse, NotEmpty, NotFound, SpecError, UnknownName, WorkerDied

if TYPE_CHECKING:
    from tl_core.documents.questions import Answer, QuestionSpec
    from tl_core.models.registry import Network
    from tl_core.runs.store.folders import DatasetFolder
    from tl_core.runs.store.job_folder import JobFolder
    from tl_core.runs.store.store import Workspace
    from tl_core.serving.predictor import Predictor

SAMPLE = "sample:"
Asked = TypeVar("Asked", bound="QuestionSpec")
Answered = TypeVar("Answered", bound="Answer")


class Source(NamedTuple):
    """What DATA stands for."""

    kind: Literal["folder", "zip", "sample"]
    where: str
    """Absolute path, or the sample's name."""
    name: str
    """Display text."""


class Request(NamedTuple):
    """What was asked for and found to be right."""

    source: Source
    options: TrainingOptions
    classes_from: ClassesFrom
    out: Path | None
    """The folder to fill, absolute, where one was named."""

    @property
    def reading(self) -> dict[str, Any]:
        """The arguments of `jobs.submit_ingest`."""
        return dict(zip(("source_kind", "source", "name"), self.source, strict=True), classes_from=self.classes_from)


def train(
    data: str | os.PathLike[str],
    *,
    backbone: str = DEFAULT_NETWORK,
    weights: str | None = None,
    strategy: str | None = None,
    stages: int | None = None,
    solver: Solver = "logistic",
    epochs: int | None = None,
    image_size: int | None = None,
    batch_size: int = BATCH_SIZE,
    seed: int = 0,
    device: Device = "auto",
    optimizer: Optimizer | None = None,
    learning_rate: float | None = None,
    stage_rate: float | None = None,
    rate_decay: float | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    schedule: Schedule | None = None,
    warm_up: float | None = None,
    label_smoothing: float | None = None,
    mixup: float | None = None,
    cutmix: float | None = None,
    ema: float | None = None,
    patience: int | None = None,
    clip: float | None = None,
    class_weights: bool | None = None,
    norm_learns: bool | None = None,
    augmentation: Level | None = None,
    views: int | None = None,
    lora_rank: int | None = None,
    recipe: Mapping[str, Any] | None = None,
    classes: ClassesFrom = "first",
    out: str | os.PathLike[str] | None = None,
    workspace: str | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> dict[str, Any]:
    """Read `data` (a folder, a zip or `sample:NAME`), train a classifier on it, measure it, and write its bundle.

    The options are those of `python -m tl_core train`, and README explains each; None leaves the choice to Graft.
    `recipe` is deprecated: a mapping of the options from `optimizer` on. `on_event` is called with each event as it comes. If
    it raises, or the call is interrupted, the job is cancelled.

    Returns what `train --json` prints: `run_dir`, `classes`, `test_accuracy`, `test_interval`, `seconds` and more.

    Raises:
        GraftError: everything that the caller can mend, and `WorkerDied` where a worker process was killed.
    """
    asked = {name: value for name, value in locals().items() if name in OPTIONS}
    from tl_core.data.checks import require_trainable
    from tl_core.runs.start import jobs
    from tl_core.runs.store.store import Store
    from tl_core.runs.summary import summarise

    started = time.monotonic()
    if recipe is not None:
        warnings.warn(
            "`recipe` is deprecated: give its settings to `train` by themselves, head_rate as learning_rate.",
            DeprecationWarning,
            stacklevel=2,
        )
        known = by_current_names(recipe)
        asked = {**known, **{name: value for name, value in asked.items() if value is not None or name not in known}}
    store = Store.default()
    place = store.command_line_workspace() if workspace is None else store.workspace(workspace)
    request = checked(data, asked, classes, place, on_event, out=out)
    dataset = jobs.submit_ingest(place, **request.reading)
    made: list[JobFolder] = [dataset]
    try:
        finish(dataset, on_event)
        require_trainable(dataset.manifest())
        run = jobs.submit_training(place, dataset, out=request.out, **asked)
        made.insert(0, run)
        finish(run, on_event)
    except BaseException as error:
        if workspace is None and not isinstance(error, WorkerDied):
            clear_away(made)
        raise
    summary = summarise(run).model_dump(mode="json")
    summary["seconds"]["total"] = round(time.monotonic() - started, 3)
    return summary


def checked(
    data: str | os.PathLike[str],
    asked: Mapping[str, Any],
    classes: str,
    place: Workspace,
    on_event: Callable[[Event], None] | None,
    *,
    out: str | os.PathLike[str] | None = None,
    weights: bool = True,
) -> Request:
    """Find everything that is wrong with what was asked for at once: the pictures, the options by their names, the folder `out`.

    `weights`: whether those of the options' backbone are needed. A backbone that is not in the registry is looked up in
    timm, which takes a job in `place`.

    Raises:
        SpecError: with all problems; a problem that is alone is raised as what it is.
    """
    from tl_core.runs.start.training_spec import attempt, problems, raise_all
    from tl_core.runs.store.store import Store

    found: list[GraftError] = []
    source = attempt(lambda: source_of(data), found)
    folder = None if out is None else attempt(lambda: free_folder(Path(out)), found)
    cache = Store.default().cache if weights else None
    options, wrong = TrainingOptions.read(asked)
    found += [*wrong, *problems(options, find=lambda name: described(name, place, on_event), cache=cache)]
    taken = next((known for known in get_args(ClassesFrom) if known == classes), None)
    if taken is None:
        found.append(UnknownName.among("way to name classes", classes, get_args(ClassesFrom)))
    raise_all(found)
    return Request(cast(Source, source), options, cast(ClassesFrom, taken), folder)


def described(name: str, place: Workspace, on_event: Callable[[Event], None] | None) -> Network:
    """The row of the backbone called `name`; one that is not in the registry is looked up in timm by a job in `place`.

    Raises:
        UnknownName: timm does not know it either.
        ModelError: timm knows it, but it cannot be a backbone.
    """
    from tl_core.documents.questions import DescribeSpec
    from tl_core.models.registry import check_name, network
    from tl_core.runs.questions.ask import ask

    try:
        return network(name)
    except UnknownName as error:
        unknown = error
    try:
        check_name(name)
    except SpecError:
        raise unknown from None
    question = ask(place, DescribeSpec(network=name))
    try:
        finish(question, on_event)
    except UnknownName as error:
        raise UnknownName(f"{unknown.message} {error.message}") from None
    finally:
        # Its answer lies elsewhere, for every workspace.
        clear_away([question])
    return network(name)


def ask_about(
    request: Request,
    question: Callable[[DatasetFolder], Asked],
    answer: type[Answered],
    place: Workspace,
    on_event: Callable[[Event], None] | None,
) -> tuple[Asked, Answered]:
    """Read the pictures, ask `question` about them, and leave nothing behind but what the cache keeps.

    Returns the question and its answer.

    Raises:
        GraftError: the pictures cannot be read, or the question cannot be answered.
    """
    from tl_core.runs.questions.ask import ask
    from tl_core.runs.start import jobs

    dataset = jobs.submit_ingest(place, **request.reading)
    made: list[JobFolder] = [dataset]
    try:
        finish(dataset, on_event)
        spec = question(dataset)
        asked = ask(place, spec)
        made.insert(0, asked)
        finish(asked, on_event)
        return spec, answer.read(asked.result_file)
    finally:
        clear_away(made)


def load(run: str | os.PathLike[str]) -> Predictor:
    """A classifier, without torch, from a run or bundle folder or a bundle zip; `.predict([...])` takes paths, bytes, PIL images.

    Raises:
        NotFound: there is nothing of that name.
        BundleError: it holds no usable bundle.
    """
    from tl_core.serving.predictor import Predictor

    return Predictor(_named(os.fspath(run)))


def source_of(data: str | os.PathLike[str]) -> Source:
    """What `data` stands for: a folder, a zip or `sample:NAME`.

    Raises:
        NotFound: no such file or folder.
        UnknownName: no such sample.
        SpecError: a file that is no zip.
    """
    text = os.fspath(data)
    if text.startswith(SAMPLE):
        from tl_core.data.samples import SAMPLES

        name = text.removeprefix(SAMPLE)
        if name not in SAMPLES:
            raise UnknownName.among("sample", name, SAMPLES)
        return Source("sample", name, SAMPLES[name].title)
    path = _named(text).expanduser().absolute()
    if path.is_dir():
        return Source("folder", str(path), path.resolve().name)
    if not path.exists():
        raise NotFound(f"There is no file or folder {text}. Give a folder of pictures, a zip of one, or sample:digits.")
    if not zipfile.is_zipfile(path):
        raise SpecError(
            f"{text} is neither a folder nor a zip. Give a folder of pictures, a zip of one, or sample:digits."
        )
    return Source("zip", str(path), path.stem)


def free_folder(path: Path) -> Path:
    """The absolute `path` of a folder that may be filled: one that is empty or not there yet.

    Raises:
        NotEmpty: it holds something, or is a file.
        SpecError: it cannot be made or written to.
    """
    path = path.expanduser().absolute()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise NotEmpty(f"{path} holds something already. Name a folder that is empty or not there yet.")
    nearest = next(folder for folder in (path, *path.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        raise SpecError(f"{path} cannot be written: {nearest} is no folder that you may write to. Name another one.")
    return path


def _named(text: str) -> Path:
    """`text` as a path. Raises NotFound for one without a letter, which the system would take for the working folder."""
    if not text.strip():
        raise NotFound("The name of the file or folder is empty.")
    return Path(text)


def finish(job: JobFolder, on_event: Callable[[Event], None] | None) -> None:
    """Follow `job` to its end. Raises what ended it, if it did not succeed."""
    from tl_core.runs.process.executor import cancel
    from tl_core.runs.start import jobs

    try:
        for event in jobs.follow(job):
            if on_event is not None:
                on_event(event)
    except BaseException:
        cancel(job)
        raise
    error = failure_of(job)
    if error is not None:
        raise error


def clear_away(made: list[JobFolder]) -> None:
    """Remove what a call that failed has left in the command line's own workspace, which no page shows.

    A run that can still be finished with its best state stays, with its data set.
    """
    from tl_core.runs.store.folders import RunFolder

    if any(isinstance(job, RunFolder) and job.best.is_file() for job in made):
        return
    for job in made:
        with suppress(InUse):
            job.delete()


def failure_of(job: JobFolder) -> GraftError | None:
    """What ended a job that has ended, as the error that its worker met; None if it succeeded."""
    status = job.status()
    if status.state == "succeeded":
        return None
    if status.state == "cancelled":
        return Cancelled("Cancelled.")
    failure = status.failure
    if failure is None or failure.exit_code == WorkerDied.exit_code:
        message = failure.message if failure else "The worker process ended without a word."
        return WorkerDied(f"{message} Its log: {job.log_file}")
    return _error_class(failure.kind)(failure.message)


def _error_class(kind: str) -> type[GraftError]:
    waiting: list[type[GraftError]] = [GraftError]
    while waiting:
        candidate = waiting.pop()
        if candidate.kind == kind:
            return candidate
        waiting.extend(candidate.__subclasses__())
    return GraftError
