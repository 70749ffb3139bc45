"""On which of its pictures a run fails: slices of those that it was judged by, and clusters of its own embeddings."""

from collections.abc import Generator
from contextlib import suppress

import numpy as np

from tl_core.data.pace import Pace
from tl_core.data.pixel_arrays import load_pixels
from tl_core.data.split import group_keys
from tl_core.documents.arrays import Embeddings
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.manifest import SPLITS
from tl_core.documents.report import ImageAnswer, JudgedBy
from tl_core.documents.tasks import RunSlices, SlicesSpec
from tl_core.errors import DocumentError, GraftError, NotFound
from tl_core.evaluation.metrics import answers
from tl_core.evaluation.slice_search import Pictures, distances_to_middles, failing
from tl_core.models.graphs.rules import BATCH
from tl_core.runs.store.folders import RunFolder, TaskFolder
from tl_core.runs.tasks.subject import run_of
from tl_core.runs.train.plan import Plan
from tl_core.serving.predictor import Predictor
from tl_core.training.head.fitted import stratified_folds

_PART = 8 * BATCH
"""Pictures between two events of progress."""


def answer(task: TaskFolder) -> Generator[Event, None, RunSlices]:
    """As `run_slices`, of the run that the task is about."""
    return (yield from run_slices(run_of(task.spec_as(SlicesSpec))))


def run_slices(run: RunFolder) -> Generator[Event, None, RunSlices]:
    """Every slice of the pictures by which `run` was judged, the one that chance explains least first.

    Judged are its answers of nested cross-validation to all pictures, where it has them, else those to the test pictures.

    Raises:
        NotFound: the run has no report or bundle, or its data set was deleted.
        DocumentError, BundleError: one of them is damaged.
        DataError: a copy in the data set is missing or damaged.
        OverBudget, DiskFull: the cache or the disk has no room.
    """
    plan = Plan(run)
    judged_by, judged, folds = _judged(plan)
    embeddings = yield from run_embeddings(plan)
    yield StageStarted(stage="evaluation", title="Looking where it fails")
    rows = np.array([answer.row for answer in judged], dtype=np.int64)
    images = plan.manifest.images
    alone = tuple(image.model_copy(update={"given_group": None}) for image in images)
    pictures = Pictures(
        images=[images[row] for row in rows],
        groups=plan.groups[rows],
        copies=group_keys(plan.manifest.model_copy(update={"images": alone}))[rows],
        distances=distances_to_middles(embeddings.vectors, np.searchsorted(embeddings.rows, rows)),
    )
    return RunSlices(
        judged_by=judged_by,
        images=len(judged),
        accuracy=sum(answer.predicted == answer.truth for answer in judged) / max(len(judged), 1),
        slices=failing(pictures, judged, plan.classes, folds=folds),
    )


def _judged(plan: Plan) -> tuple[JudgedBy, tuple[ImageAnswer, ...], int | None]:
    """The answers by which the run is judged, and how many folds they come from."""
    report, rows = plan.run.report(), plan.rows(*SPLITS)
    # A file that is damaged or was never written leaves the test.
    with suppress(GraftError):
        nested = plan.run.out_of_fold().nested
        learned = plan.rows("train", "val")
        folds = stratified_folds(plan.labels[learned], plan.groups[learned])
        if nested is not None and folds is not None and len(nested) == len(rows):
            # The test is one more fold.
            return "cross_validated", answers(nested, plan.labels[rows], rows), int(folds.max()) + 2
    return "test", report.answers, None


def run_embeddings(plan: Plan) -> Generator[Event, None, Embeddings]:
    """The embeddings that are kept with the plan's run; where there are none, the bundle computes them now, and they are kept.

    A run that fitted a head on frozen features has them. One that trained stages has not, because the training pictures go through the
    trained network only here.

    Raises:
        NotFound, BundleError: the run has no bundle, or a damaged one, or is deleted meanwhile.
        DataError: a copy in the data set is missing or damaged.
        OverBudget, DiskFull: the cache or the disk has no room.
    """
    # One that is damaged is computed again, too.
    with suppress(NotFound, DocumentError):
        return plan.run.embeddings()
    predictor, rows = Predictor(plan.run.bundle), plan.rows(*SPLITS)
    info = predictor.info
    pixels = yield from load_pixels(
        plan.dataset.path, plan.manifest, size=info.image_size, interpolation=info.interpolation, cache=plan.cache
    )
    yield StageStarted(stage="features", title="Looking at every picture once with the trained network")
    pace, parts = Pace("features", len(rows)), []
    for start in range(0, len(rows), _PART):
        parts.append(predictor.embeddings(pixels[rows[start : start + _PART]]))
        yield from pace.at(min(start + _PART, len(rows)))
    embeddings = Embeddings.of(rows, np.concatenate(parts))
    if not plan.run.exists:
        raise NotFound("The run was deleted while its pictures were looked at.")
    embeddings.write(plan.run.embeddings_file)
    return embeddings
