"""`tl_core.train` and `tl_core.load`, and the race and the check of what was asked for, which the command line calls, too.

`train` runs jobs as the app does: a worker process reads the pictures, another one trains, and their folders keep the record.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast, get_args

from tl_core.data.sources import path_of, source_of
from tl_core.documents.events import Event
from tl_core.documents.options import TrainingOptions
from tl_core.documents.spec import ClassesFrom, IngestSpec
from tl_core.errors import GraftError, UnknownName, WorkerDied
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.job_folder import JobFolder, free_folder
from tl_core.runs.store.store import Store, Workspace

if TYPE_CHECKING:
    from tl_core.serving.predictor import Predictor


class Request(NamedTuple):
    """What was asked for and found to be right."""

    source: IngestSpec
    options: TrainingOptions
    out: Path | None
    """The folder to fill, absolute, where one was named."""


def train(
    data: str | os.PathLike[str],
    *,
    # options of a run: written by make options
    backbone: str = "efficientnet_lite0",
    weights: str | None = None,
    strategy: str | None = None,
    stages: int | None = None,
    solver: Literal["logistic", "adam"] = "logistic",
    epochs: int | None = None,
    image_size: int | None = None,
    batch_size: int = 32,
    seed: int = 0,
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto",
    optimizer: Literal["adamw", "sgd"] | None = None,
    learning_rate: float | None = None,
    stage_rate: float | None = None,
    rate_decay: float | None = None,
    momentum: float | None = None,
    weight_decay: float | None = None,
    schedule: Literal["cosine", "constant"] | None = None,
    warm_up: float | None = None,
    label_smoothing: float | None = None,
    mixup: float | None = None,
    cutmix: float | None = None,
    ema: float | None = None,
    patience: int | None = None,
    clip: float | None = None,
    class_weights: bool | None = None,
    norm_learns: bool | None = None,
    augmentation: Literal["none", "light", "medium", "strong"] | None = None,
    views: int | None = None,
    lora_rank: int | None = None,
    # end of the options of a run
    classes: ClassesFrom = "first",
    groups: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    workspace: str | None = None,
    on_event: Callable[[Event], None] | None = None,
) -> dict[str, Any]:
    """Read `data` (a folder, a zip or `sample:NAME`), train a classifier on it, measure it, and write its bundle.

    The options are those of `python -m tl_core train`, and docs/command-line.md explains each; None leaves the choice to Graft.
    `groups` is a CSV with the columns `file` and `group`: pictures of a group are not divided between learning and judging.
    `on_event` is called with each event as it comes; the reading of the pictures and the training each end with one of the type `ended`. If
    it raises, or the call is interrupted, the job is cancelled.

    Returns what `train --json` prints: `run_dir`, `classes`, `test_accuracy`, `test_interval`, `seconds` and more.

    Raises:
        GraftError: everything that the caller can mend, and `WorkerDied` where a worker process was killed. Where the run can go on, a note of the
            error names the command.
    """
    asked: dict[str, Any] = {
        # the same options: written by make options
        "backbone": backbone,
        "weights": weights,
        "strategy": strategy,
        "stages": stages,
        "solver": solver,
        "epochs": epochs,
        "image_size": image_size,
        "batch_size": batch_size,
        "seed": seed,
        "device": device,
        "optimizer": optimizer,
        "learning_rate": learning_rate,
        "stage_rate": stage_rate,
        "rate_decay": rate_decay,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "schedule": schedule,
        "warm_up": warm_up,
        "label_smoothing": label_smoothing,
        "mixup": mixup,
        "cutmix": cutmix,
        "ema": ema,
        "patience": patience,
        "clip": clip,
        "class_weights": class_weights,
        "norm_learns": norm_learns,
        "augmentation": augmentation,
        "views": views,
        "lora_rank": lora_rank,
        # end of the same options
    }
    from tl_core.runs.finished import summarise
    from tl_core.runs.start import jobs

    started = time.monotonic()
    place = _place(workspace)
    request = checked(data, asked, classes, place, on_event, groups=groups, out=out)
    with _pictures(request.source, place, on_event, passing=workspace is None) as (dataset, made):
        run = jobs.submit_training(place, dataset, out=request.out, **asked)
        made.insert(0, run)
        jobs.wait(run, on_event)
    summary = summarise(run).model_dump(mode="json")
    summary["seconds"]["total"] = round(time.monotonic() - started, 3)
    return summary


def race(
    data: str | os.PathLike[str],
    *,
    strategies: Sequence[str] = (),
    backbones: Sequence[str] = (),
    budget: float,
    classes: str = "first",
    groups: str | os.PathLike[str] | None = None,
    workspace: str | None = None,
    on_event: Callable[[Event], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Read `data` and train several classifiers on one split of it within `budget` seconds, which reading does not count in.

    `strategies` and `backbones` as in `races.named`, `options` of every run by the names of the command line, the others as for
    `train`. Returns what `race --json` prints: the leaderboard, with `race_dir` and for each row `run_dir`; and in
    `first_against` what `compare` says of the first row against each other one that is done, on the test pictures.

    Raises:
        GraftError: everything that the caller can mend, and `WorkerDied` where a worker process was killed.
    """
    from tl_core.runs.comparing import first_against_others, leaderboard
    from tl_core.runs.start import jobs, races
    from tl_core.runs.start.training_spec import attempt, raise_all

    place = _place(workspace)
    problems: list[GraftError] = []
    attempt(lambda: races.require_budget(budget), problems)
    asked = races.named(options, strategies, backbones)
    requests = [
        attempt(partial(checked, data, each, classes, place, on_event, groups=groups), problems) for each in asked
    ]
    raise_all(list({problem.message: problem for problem in problems}.values()))
    request = cast(Request, requests[0])
    with _pictures(request.source, place, on_event, passing=workspace is None) as (dataset, made):
        raced = races.submit_race(place, dataset, strategies=strategies, backbones=backbones, budget=budget, **options)
        made[:0] = [raced, *raced.parts()]
        jobs.wait(raced, on_event)
    board = leaderboard(raced).model_dump(mode="json")
    folders = {run.id: str(run.path) for run in raced.parts()}
    rows = [{**row, "run_dir": folders[row["run"]]} for row in board.pop("rows")]
    against = [
        {"run_dir": folders[each.run], **each.comparison.model_dump(mode="json"), "said": each.comparison.said}
        for each in first_against_others(raced)
    ]
    return {"race_dir": str(raced.path), **board, "rows": rows, "first_against": against}


def _place(workspace: str | None) -> Workspace:
    """The workspace with that token; None: that of the command line."""
    store = Store.default()
    return store.command_line_workspace() if workspace is None else store.workspace(workspace)


@contextmanager
def _pictures(
    source: IngestSpec, place: Workspace, on_event: Callable[[Event], None] | None, *, passing: bool
) -> Iterator[tuple[DatasetFolder, list[JobFolder]]]:
    """The data set of `source`, read, and what was made so far, which goes if something fails later and it is `passing`: shown on no page.

    Where the first that was made is a run that can go on, a note of the error says how.
    """
    from tl_core.data.checks import require_trainable
    from tl_core.runs.start import jobs

    dataset = jobs.read_pictures(place, source.model_copy(update={"judged": not passing}))
    made: list[JobFolder] = [dataset]
    try:
        jobs.wait(dataset, on_event)
        require_trainable(dataset.manifest())
        yield dataset, made
    except BaseException as error:
        if passing and not isinstance(error, WorkerDied):
            jobs.clear_away(made)
        stopped = made[0]
        if isinstance(stopped, RunFolder) and stopped.exists and stopped.can_resume():
            error.add_note(f"It can go on from its last checkpoint: python -m tl_core resume {stopped.path}")
        raise


def checked(
    data: str | os.PathLike[str],
    asked: Mapping[str, Any],
    classes: str,
    place: Workspace,
    on_event: Callable[[Event], None] | None,
    *,
    groups: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str] | None = None,
    weights: bool = True,
) -> Request:
    """Find everything that is wrong with what was asked for at once: the pictures and `groups`, the options by their names, the folder `out`.

    `weights`: whether those of the options' backbone are needed. A backbone that is not
    in the registry is looked up in timm, which takes a job in `place`.

    Raises:
        SpecError: with all problems; a problem that is alone is raised as what it is.
    """
    from tl_core.runs.start.training_spec import attempt, problems, raise_all
    from tl_core.runs.tasks.ask import described

    wrong: list[GraftError] = []
    source = attempt(lambda: source_of(data, groups=groups), wrong)
    folder = None if out is None else attempt(lambda: free_folder(Path(out)), wrong)
    cache = Store.default().cache if weights else None
    options, unusable = TrainingOptions.read(asked)
    wrong += [*unusable, *problems(options, find=lambda name: described(name, place, on_event), cache=cache)]
    if classes not in get_args(ClassesFrom):
        wrong.append(UnknownName.among("way to name classes", classes, get_args(ClassesFrom)))
    raise_all(wrong)
    return Request(cast(IngestSpec, source).model_copy(update={"classes_from": classes}), options, folder)


def load(run: str | os.PathLike[str]) -> Predictor:
    """A classifier, without torch, from a run or bundle folder or a bundle zip; `.predict([...])` takes paths, bytes, PIL images.

    The bundle may come from a stranger: a process of its own, with limited memory, checks and runs its graph.

    It decodes pictures in this process. For pictures of strangers, give `predict` the `read_input` of a
    `tl_core.data.guarded.Pool`, as the command line does: that decodes in child processes with limits on memory and time.

    Raises:
        NotFound: there is nothing of that name.
        BundleError: it holds no usable bundle.
    """
    from tl_core.serving.child_session import ChildSession

    # The process starts while this one imports the rest and reads the other files.
    session = ChildSession()
    from tl_core.serving.bundle import read_bundle
    from tl_core.serving.predictor import Predictor

    return Predictor(read_bundle(path_of(run).expanduser(), check=session.open), session)
