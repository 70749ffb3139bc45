"""Which labels of a data set are probably wrong, and what more pictures would bring: by heads on its frozen features.

The features of all images are cached under the keys of training, so a run on the same backbone finds them there. Where such a run has
cross-validated its head, its out-of-fold answers are judged, and no head is fitted for that again.
"""

from collections.abc import Generator
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from tl_core.data.checks import require_trainable
from tl_core.data.split import group_keys
from tl_core.documents.events import Event
from tl_core.documents.tasks import LabelReview, LabelReviewSpec
from tl_core.errors import GraftError, NotEnoughImages
from tl_core.evaluation.growth import growth
from tl_core.evaluation.similar import lookalikes
from tl_core.runs.grouping import judge, judged_by, seen
from tl_core.runs.store.folders import TaskFolder
from tl_core.runs.store.store import Workspace
from tl_core.runs.tasks.subject import dataset_of
from tl_core.training.head.fitted import fit_parts, stratified_folds


def answer(task: TaskFolder) -> Generator[Event, None, LabelReview]:
    """Judge the labels of all images of the data set, whatever part they are in, by heads that have not seen them.

    Raises:
        DataError: no head can be fitted on these images, or a class cannot be divided into folds.
        WeightsUnavailable, DownloadFailed: the pretrained weights cannot be had.
        OverBudget, DiskFull: the cache or the disk has no room.
    """
    spec = task.spec_as(LabelReviewSpec)
    dataset = dataset_of(spec)
    manifest = dataset.manifest()
    require_trainable(manifest)
    labels = np.array([image.label for image in manifest.images], dtype=np.int64)
    groups = group_keys(manifest)
    folds = stratified_folds(labels, groups)
    if folds is None:
        raise NotEnoughImages(
            "The labels cannot be judged: the pictures of a class are all alike, or all also in another class. Add pictures of it."
        )
    features = (yield from seen(dataset.path, manifest, spec.backbone)).features
    answers = _out_of_fold(Workspace(task.workspace_folder), spec, labels)
    if answers is None:
        judged = yield from judge(features, labels, folds, classes=len(manifest.classes))
    else:
        judged = judged_by(*answers, labels)
    parts = fit_parts(features, labels, folds, groups, classes=len(manifest.classes), c=judged.c)
    rows = np.array([suspect.row for suspect in judged.suspects], dtype=np.int64)
    suggested = np.array([suspect.suggested for suspect in judged.suspects], dtype=np.int64)
    _, near = lookalikes(features, labels, groups, rows, suggested)
    return LabelReview(
        accuracy=judged.accuracy,
        suspects=judged.suspects,
        lookalikes=near,
        growth=growth(parts.sizes, parts.right, labels, groups),
    )


def _out_of_fold(
    workspace: Workspace, spec: LabelReviewSpec, labels: NDArray[np.integer]
) -> tuple[NDArray[np.float32], float] | None:
    """What the newest run that fits answered to every picture out of fold (N, C), and the inverse strength of its head's penalty.

    Fits: a head was fitted alone on the same backbone and pictures, all classes counted by their pictures. None where there is no such run.
    """
    for run in workspace.runs():
        # One that is damaged or did not end well is passed over.
        with suppress(GraftError):
            trained, wanted = run.spec(), (spec.dataset, spec.version, spec.backbone)
            if (trained.dataset, trained.version, trained.backbone) != wanted or trained.recipe.class_weights:
                continue
            answers = run.out_of_fold()
            if answers.nested is not None and len(answers.nested) == len(labels):
                return answers.nested, answers.c
    return None
