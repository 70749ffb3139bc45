"""Which backbone suits a data set: each is scored on its frozen features of the training images.

The features of all images are cached under the keys of training, so a run with the best backbone finds them there.
"""

from collections.abc import Generator

import numpy as np

from tl_core.data.checks import require_trainable
from tl_core.data.split import assign
from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.documents.tasks import RankedBackbone, Ranking, RankSpec
from tl_core.errors import Cancelled, DiskFull, GraftError, ModelError
from tl_core.models.registry import network
from tl_core.runs.grouping import seen
from tl_core.runs.process.devices import resolve_device, slowness
from tl_core.runs.store.folders import TaskFolder
from tl_core.runs.tasks.subject import dataset_of
from tl_core.training.speed.estimate import forward_seconds
from tl_core.training.transferability import MOST_IMAGES, stratified, transferability


def answer(task: TaskFolder) -> Generator[Event, None, Ranking]:
    """Score the backbones of the task, each with its default weights at their own image size, on the images of its data set.

    A backbone that cannot be scored is noted with the reason, and the others go on. The best comes first: by the accuracy
    of the cross-validated head, then by LogME.

    Raises:
        ModelError: no backbone could be scored; the message says why the first could not.
        DataError: no head can be fitted on these images.
        DiskFull: no space is left.
    """
    spec = task.spec_as(RankSpec)
    dataset = dataset_of(spec)
    manifest, device = dataset.manifest(), resolve_device(spec.device)
    require_trainable(manifest)
    labels = np.array([image.label for image in manifest.images], dtype=np.int64)
    learned = np.flatnonzero(assign(manifest, spec.seed) == "train")
    scored = learned[stratified(labels[learned], MOST_IMAGES, spec.seed)]
    # With very many images, only those that are scored are run through each backbone.
    only = scored if len(scored) < len(learned) else None
    if only is not None:
        yield Notice(message=f"{len(scored):,} of the training pictures are looked at, of every class its share.")
    names = list(dict.fromkeys(spec.backbones))
    rows: list[RankedBackbone] = []
    failed: dict[str, str] = {}
    for number, name in enumerate(names, start=1):
        title = f"{name}, backbone {number} of {len(names)}"
        yield StageStarted(stage="preparing", title=title)
        try:
            backbone = network(name)
            sight = yield from seen(dataset.path, manifest, name, device=device, only=only, title=title)
        except (Cancelled, DiskFull):
            raise
        except GraftError as error:
            failed[name] = error.message
            yield Notice(level="warning", message=f"{name} could not be scored: {error.message}")
            continue
        features = sight.features if only is not None else sight.features[scored]
        scores = transferability(features, labels[scored], spec.seed)
        forward = forward_seconds(backbone, backbone.weights_row().input_size, device)
        rows.append(
            RankedBackbone(
                backbone=name,
                weights=backbone.default_weights,
                accuracy=scores.accuracy,
                interval=scores.interval,
                logme=scores.logme,
                similar=scores.similar,
                seconds=slowness(device) * forward * len(labels),
            )
        )
    if not rows:
        raise ModelError(f"No backbone could be scored. {names[0]}: {failed[names[0]]}")
    rows.sort(key=lambda row: (-row.accuracy, -row.logme))
    return Ranking(images=len(scored), classes=len(manifest.classes), rows=tuple(rows), failed=failed)
