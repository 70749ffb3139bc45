"""Labelled frozen features of whole folders, for measurements that need no training run."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from tl_core.data.pixel_arrays import load_pixels
from tl_core.data.split import group_keys
from tl_core.documents.manifest import Manifest
from tl_core.models.registry import network
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Store, Workspace
from tl_core.training.frozen.features import features_key, frozen_features
from tl_core.training.head.fitted import CrossValidated, fit_cross_validated, stratified_folds

BACKBONE = "efficientnet_lite0"
KEEP = user_cache_path("graft") / "frozen_sets"
"""The store that keeps what was read, so that a second measurement begins at once."""
Answer = TypeVar("Answer")


DOCUMENT = Path(__file__).parents[1] / "docs" / "data.md"
HEAD = """# What is said of data, measured

Written by `benchmarks/suspect_labels.py`, `benchmarks/growth.py` and `benchmarks/known_faults.py`, with the frozen features of EfficientNet-Lite0
and the head that is fitted on them. Copies of a picture are always on one side of what divides a set.
"""


class FrozenSet(NamedTuple):
    """One data set, as a head sees it."""

    name: str
    manifest: Manifest
    features: NDArray[np.float32]
    """(N, D), of the embedded backbone."""
    labels: NDArray[np.int64]
    """(N,)"""
    groups: NDArray[np.intp]
    """(N,)"""


def kept(keep: Path) -> Workspace:
    """The workspace of the store `keep`, which is that of this process from now on."""
    os.environ |= {"GRAFT_STORE": str(keep), "GRAFT_KEEP_DAYS": "0"}
    workspace = Store.default().command_line_workspace()
    workspace.make()
    return workspace


def dataset_of(data: str, workspace: Workspace) -> DatasetFolder:
    """The data set of `data`, a folder or `sample:NAME`; read on the first call only.

    Raises:
        GraftError: `data` cannot be read.
    """
    sample = data.removeprefix("sample:") if data.startswith("sample:") else None
    source = sample or str(Path(data).absolute())
    known = [one for one in workspace.datasets() if one.spec().source == source and one.status().state == "succeeded"]
    if known:
        return known[0]
    kind = "sample" if sample else "folder"
    dataset = jobs.submit_ingest(workspace, source_kind=kind, source=source, name=Path(source).name)
    jobs.wait(dataset, None)
    return dataset


def frozen_set(data: str, *, keep: Path = KEEP) -> FrozenSet:
    """The features of `data`, a folder or `sample:NAME`; read and computed on the first call only.

    Raises:
        GraftError: `data` cannot be read.
    """
    dataset = dataset_of(data, kept(keep))
    manifest, backbone = dataset.manifest(), network(BACKBONE)
    weights = backbone.weights_row()
    size, cache = weights.input_size, Store.default().cache
    pixels = result(load_pixels(dataset.path, manifest, size=size, interpolation=weights.interpolation, cache=cache))
    key = features_key(manifest, backbone, weights.name, size)
    features = result(frozen_features(pixels, backbone, weights.name, device="cpu", cache=cache, key=key))
    labels = np.array([image.label for image in manifest.images], dtype=np.int64)
    return FrozenSet(manifest.name, manifest, np.asarray(features), labels, group_keys(manifest))


def cross_validated(
    features: NDArray[np.float32], labels: NDArray[np.int64], groups: NDArray[np.intp]
) -> tuple[NDArray[np.int64], CrossValidated]:
    """The folds (N,) of these pictures, and the head that cross-validation over them gives."""
    folds = stratified_folds(labels, groups)
    assert folds is not None
    return folds, result(fit_cross_validated(features, labels, folds, classes=int(labels.max()) + 1))


def result(steps: Generator[Any, None, Answer]) -> Answer:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            answer: Answer = end.value
            return answer
