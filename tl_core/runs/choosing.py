"""What `auto` stands for in one run: the rule of `training.advice`, with similarity measured on the run's own pictures.

Whatever is computed for it is cached under the keys of training, so the run that follows does not pay for it twice.
"""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.documents.spec import TrainSpec
from tl_core.runs.store import DatasetFolder, RunFolder, Store
from tl_core.training.strategies import AUTO


def settle_auto(run: RunFolder) -> Generator[Event, None, None]:
    """Write into the run's spec the strategy that the rule takes, and say why; nothing where one was asked for by name.

    Raises:
        WeightsUnavailable, DownloadFailed, DiskFull, ModelError: as for a head on frozen features.
    """
    spec = run.spec()
    if spec.strategy != AUTO:
        return
    from tl_core.data.split import assign
    from tl_core.models.registry import network
    from tl_core.runs.options import following
    from tl_core.training.advice import advise, needs_similarity

    store = Store.default()
    dataset = store.workspace(spec.workspace).dataset(spec.dataset)
    manifest = dataset.manifest()
    rows = np.flatnonzero(assign(manifest, spec.seed) == "train")
    similar: bool | None = None
    if needs_similarity(len(rows)):
        similar = yield from _similar(spec, dataset, rows, store)
    advice = advise(len(rows), similar, network(spec.backbone), stages=spec.stages)
    if advice.strategy is None:
        raise ValueError("The rule has no answer although similarity was measured.")
    yield Notice(message=advice.reason)
    run.write_spec(following(spec, advice.strategy, images=len(manifest.images), reason=advice.reason))


def _similar(
    spec: TrainSpec, dataset: DatasetFolder, rows: NDArray[np.intp], store: Store
) -> Generator[Event, None, bool]:
    from tl_core.data.pixels import load_pixels
    from tl_core.models.registry import network
    from tl_core.runs.features import features_key, frozen_features
    from tl_core.training.transfer import transferability

    row, manifest, cache = network(spec.backbone), dataset.manifest(), store.cache
    interpolation = row.weights_row(spec.weights).interpolation
    pixels = yield from load_pixels(
        dataset.path, manifest, size=spec.image_size, interpolation=interpolation, cache=cache
    )
    yield StageStarted(stage="features", title="Measuring how similar the pictures are to what the backbone knows")
    features = yield from frozen_features(
        pixels,
        row,
        spec.weights,
        device=spec.device,
        cache=cache,
        key=features_key(manifest, row, spec.weights, spec.image_size),
    )
    labels = np.array([image.label for image in manifest.images], dtype=np.int64)
    found = transferability(features[rows], labels[rows], spec.seed)
    yield Notice(message=found.said(row.name))
    return found.similar
