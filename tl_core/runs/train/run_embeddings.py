"""The embeddings of a run's pictures by the network that it delivered, for the tasks about the run."""

from collections.abc import Generator

import numpy as np

from tl_core.data.pace import Pace
from tl_core.data.pixel_arrays import load_pixels
from tl_core.documents.arrays import Embeddings
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.manifest import SPLITS
from tl_core.errors import DocumentError, NotFound
from tl_core.models.graphs.rules import BATCH
from tl_core.runs.train.plan import Plan
from tl_core.serving.predictor import Predictor

_PART = 8 * BATCH
"""Pictures between two events of progress."""


def run_embeddings(plan: Plan) -> Generator[Event, None, Embeddings]:
    """The embeddings that are kept with the plan's run; where there are none, the bundle computes them now, and they are kept.

    A run that fitted a head on frozen features has them. One that trained stages has not, because the training pictures go through the
    trained network only here.

    Raises:
        NotFound, BundleError: the run has no bundle, or a damaged one, or is deleted meanwhile.
        DataError: a copy in the data set is missing or damaged.
        OverBudget, DiskFull: the cache or the disk has no room.
    """
    try:
        return plan.run.embeddings()
    except (NotFound, DocumentError):
        # One that is damaged is computed again, too.
        pass
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
    found = Embeddings.of(rows, np.concatenate(parts))
    if not plan.run.exists:
        raise NotFound("The run was deleted while its pictures were looked at.")
    found.write(plan.run.embeddings_file)
    return found
