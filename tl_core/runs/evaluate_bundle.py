"""Measures a bundle on another labelled folder of pictures, as they are and once they are changed."""

from collections.abc import Generator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tl_core.data import ingest, pixel_arrays, split
from tl_core.data.cache import Cache
from tl_core.documents.bundle_info import BundleInfo
from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.documents.manifest import Manifest, Split, SplitRecord
from tl_core.documents.report import Leak, SplitMetrics
from tl_core.documents.spec import IngestSpec
from tl_core.documents.tasks import Robustness
from tl_core.errors import LayoutError, SpecError
from tl_core.evaluation import metrics
from tl_core.evaluation.corruptions import CORRUPTIONS
from tl_core.runs.tasks.robustness import Pictures, robustness
from tl_core.serving.predictor import Predictor
from tl_core.wording import listed, plural

Part = Split | Literal["all"]


class Measurement(NamedTuple):
    """How good a bundle is on a folder."""

    metrics: SplitMetrics
    leak: Leak | None
    """What is left without the pictures that the bundle learned from, or that show the same thing. None where there are none."""


def evaluate_bundle(
    predictor: Predictor, spec: IngestSpec, *, part: Part, workplace: Path, cache: Cache
) -> Generator[Event, None, Measurement]:
    """Read the pictures that `spec` names into `workplace` and measure the bundle's answers to `part` of them.

    `part` is `all`, `train`, `val` or `test`. If the pictures are those that the run was trained on, `part` means the
    run's own split, which the bundle holds.

    Raises:
        LayoutError: the folder holds a class that the bundle does not know, or no pictures in that part.
        SpecError: the folder has no such split.
        DataError: the folder cannot be read as classes of pictures.
    """
    record = predictor.bundle.split()
    pictures = yield from _pictures(predictor, record, spec, part, workplace, cache)
    yield StageStarted(stage="evaluation", title="Asking the classifier")
    logits = yield from predictor.ask(pictures.pixels, pictures.rows)
    probabilities, truth, groups = metrics.probabilities(logits), pictures.labels, pictures.groups
    leak = metrics.leak(probabilities.argmax(axis=1) == truth, np.isin(groups, list(record.learned_groups())), groups)
    return Measurement(metrics.split_metrics(probabilities, truth, predictor.classes, groups), leak)


def bundle_robustness(
    predictor: Predictor, spec: IngestSpec, *, part: Part, workplace: Path, cache: Cache
) -> Generator[Event, None, Robustness]:
    """Read the pictures that `spec` names into `workplace`, change `part` of them by each corruption, and ask the bundle about them.

    `part`, and what is raised, are as for `evaluate_bundle`.
    """
    record = predictor.bundle.split()
    pictures = yield from _pictures(predictor, record, spec, part, workplace, cache)
    learned = int(np.isin(pictures.groups, list(record.learned_groups())).sum())
    if learned:
        yield Notice(
            level="warning",
            message=f"{learned:,} of the {plural(len(pictures.rows), 'picture')} show what it learned from as well, and may be named rightly for that.",
        )
    return (yield from robustness(predictor, pictures, list(CORRUPTIONS.values())))


def _pictures(
    predictor: Predictor, record: SplitRecord, spec: IngestSpec, part: Part, workplace: Path, cache: Cache
) -> Generator[Event, None, Pictures]:
    """Read the pictures that `spec` names; `part` of them count. `record`: the split of the bundle."""
    dataset = workplace / "dataset"
    dataset.mkdir(parents=True)
    manifest = yield from ingest.ingest(spec, dataset, staging=workplace / "staging")
    info = predictor.info
    labels = _labels(manifest, info)
    rows = np.flatnonzero(_chosen(manifest, info, record, part))
    if not len(rows):
        raise LayoutError(f"{spec.source} holds no pictures to judge by in its {part} split.")
    yield StageStarted(stage="preparing", title="Preparing pictures")
    pixels = yield from pixel_arrays.load_pixels(
        dataset, manifest, size=info.image_size, interpolation=info.interpolation, cache=cache
    )
    return Pictures(pixels, manifest, rows, labels[rows], _groups(manifest, record)[rows])


def _groups(manifest: Manifest, record: SplitRecord) -> NDArray[np.int64]:
    """The group of each image (N,) by `record`; images that it does not name are one only where their bytes are the same."""
    group_of = record.group_of
    strange = max(group_of.values(), default=-1) + 1
    new = {content: strange + at for at, content in enumerate(sorted({image.sha256 for image in manifest.images}))}
    return np.array([group_of.get(image.sha256, new[image.sha256]) for image in manifest.images], dtype=np.int64)


def _labels(manifest: Manifest, info: BundleInfo) -> NDArray[np.int64]:
    """The class index of each image in the order of the bundle's classes, shape (N,)."""
    position = {name: index for index, name in enumerate(info.classes)}
    strange = [name for name in manifest.classes if name not in position]
    if strange:
        raise LayoutError(
            f"The classifier does not know {listed(list(map(repr, strange)), 8)}. It knows {listed(list(map(repr, info.classes)), 8)}; "
            "give a folder whose class folders have those names."
        )
    translated = np.array([position[name] for name in manifest.classes], dtype=np.int64)
    return translated[[image.label for image in manifest.images]]


def _chosen(manifest: Manifest, info: BundleInfo, record: SplitRecord, part: Part) -> NDArray[np.bool_]:
    """Which images (N,) belong to `part`: of the run's split if the folder holds all of that part, else of the folder's own."""
    if part == "all":
        return np.ones(len(manifest.images), dtype=bool)
    chosen = split.as_recorded(manifest, record, info.seed) == part
    contents = {manifest.images[row].sha256 for row in np.flatnonzero(chosen)}
    if contents and contents == record.parts.get(part, {}).keys():
        return np.asarray(chosen)
    own_part = np.array([image.split == part for image in manifest.images])
    if own_part.any():
        return own_part
    raise SpecError(
        f"{manifest.source} has no {part} split of its own, and these are not the pictures of this run, "
        "whose split is known. Use --split all to judge by all pictures."
    )
