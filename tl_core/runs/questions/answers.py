"""The jobs that answer small questions: from a task folder to what its function needs, and the answer to `result.json`.

Each function is imported when its job runs: several need torch. Knows no process, lock or status.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Mapping
from types import MappingProxyType

from tl_core.documents.events import Event, StageStarted
from tl_core.documents.questions import DescribeSpec, LookSpec, MeasureSpec, PreviewSpec, RankSpec, RateSpec
from tl_core.errors import DataError, UnreadableImage
from tl_core.runs.process.queue import measuring_lock
from tl_core.runs.store import locks
from tl_core.runs.store.folders import DatasetFolder, QuestionFolder, RunFolder
from tl_core.runs.store.store import Store

_PATIENCE = 120.0
"""Seconds that a measurement waits for others; the page asks only while there are none."""


def describe_job(task: QuestionFolder) -> Generator[Event, None, None]:
    """The row of a network that only timm knows, in the store's folder `networks`.

    Raises:
        UnknownName: timm does not know it either.
        ModelError: it cannot be a backbone.
    """
    from tl_core.models.metadata.describe import describe_network

    yield from describe_network(task.asked(DescribeSpec).network)


def preview_job(task: QuestionFolder) -> Generator[Event, None, None]:
    """Pictures of what each level of augmentation does, in the task's folder."""
    from tl_core.training.regularisation.preview import preview

    spec = task.asked(PreviewSpec)
    dataset = _dataset(spec)
    yield from preview(dataset.path, dataset.manifest(), spec, task.path)


def look_job(task: QuestionFolder) -> Generator[Event, None, None]:
    """Filters and feature maps of one picture, in the task's folder.

    Raises:
        DataError: the picture is missing or damaged.
    """
    from tl_core.data.pixels import read_input
    from tl_core.models.graphs.export import exported_backbone
    from tl_core.models.registry import network
    from tl_core.training.feature_maps import look

    spec = task.asked(LookSpec)
    row, cache, dataset = network(spec.backbone), Store.default().cache, _dataset(spec)
    image = dataset.manifest().images[spec.row]
    try:
        picture = read_input(dataset.image(image), spec.image_size, row.weights_row(spec.weights).interpolation)
    except (UnreadableImage, OSError) as error:
        raise DataError(
            f"The copy of {image.name} in this data set is missing or damaged. Add the pictures again as a new data set."
        ) from error
    exported = yield from exported_backbone(row, spec.weights, spec.image_size, cache)
    answer = yield from look(exported, row.stages, picture, task.path, cache=cache)
    answer.write(task.result_file)


def rate_job(task: QuestionFolder) -> Generator[Event, None, None]:
    """The range test of the run that the task's spec describes, which is there as a folder for as long as it takes."""
    yield StageStarted(stage="preparing", title="Preparing the pictures")
    from tl_core.data.checks import require_trainable
    from tl_core.data.pixels import load_pixels
    from tl_core.runs.questions.learning_rate import rate_curve
    from tl_core.runs.train.plan import Plan

    run = RunFolder(task.path / "trial")
    run.write_spec(task.asked(RateSpec).train)
    plan = Plan(run)
    require_trainable(plan.manifest)
    pixels = yield from load_pixels(
        plan.dataset.path,
        plan.manifest,
        size=plan.spec.image_size,
        interpolation=plan.weights.interpolation,
        cache=plan.cache,
    )
    answer = yield from rate_curve(plan, pixels)
    answer.write(task.result_file)
    shutil.rmtree(run.path, ignore_errors=True)


def measure_job(task: QuestionFolder) -> Generator[Event, None, None]:
    """Two batches of a network and strategy timed on this machine, while nobody else times anything on it."""
    yield StageStarted(stage="preparing", title="Timing two batches")
    from tl_core.training.speed.measure import measure

    store = Store.default()
    turn = locks.take(measuring_lock(store.queue), patience=_PATIENCE)
    try:
        answer = yield from measure(task.asked(MeasureSpec), store.cache)
    finally:
        locks.release([] if turn is None else [turn])
    answer.write(task.result_file)


def rank_job(task: QuestionFolder) -> Generator[Event, None, None]:
    """Backbones compared on the frozen features of a data set."""
    yield StageStarted(stage="preparing", title="Comparing backbones")
    from tl_core.runs.questions.ranking import rank

    spec = task.asked(RankSpec)
    answer = yield from rank(spec, _dataset(spec), Store.default().cache)
    answer.write(task.result_file)


TASKS: Mapping[str, Callable[[QuestionFolder], Generator[Event, None, None]]] = MappingProxyType(
    {
        "describe": describe_job,
        "preview": preview_job,
        "look": look_job,
        "rate": rate_job,
        "measure": measure_job,
        "rank": rank_job,
    }
)


def _dataset(asked: PreviewSpec | LookSpec | RankSpec) -> DatasetFolder:
    return Store.default().workspace(asked.workspace).dataset(asked.dataset)
