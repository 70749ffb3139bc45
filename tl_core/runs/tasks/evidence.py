"""Where in one picture the evidence for some classes lies, in the network of a run, by gradients."""

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tl_core.disk import remove
from tl_core.documents.bundle_info import BundleInfo
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.tasks import BROUGHT, ClassEvidence, EvidenceSpec, PictureEvidence
from tl_core.errors import DataError
from tl_core.runs.store.folders import TaskFolder
from tl_core.runs.store.store import Store
from tl_core.runs.tasks.subject import picture_of, run_of
from tl_core.serving.bundle import read_bundle
from tl_core.serving.explaining import gradient_evidence


def answer(task: TaskFolder) -> Generator[Event, None, PictureEvidence]:
    """The evidence for the classes of the task. A picture that somebody brought is removed, also where there is no answer.

    Raises:
        NotFound: the run or the data set was deleted.
        DataError: the picture is missing or damaged.
        BundleError, ModelError: the network cannot be built, or its features say nothing about places.
    """
    spec = task.spec_as(EvidenceSpec)
    try:
        bundle = read_bundle(run_of(spec).bundle)
        pixels = _pixels(spec, bundle.info)
    finally:
        if spec.brought is not None:
            remove(Store.default().workspace(spec.workspace).path / "staging" / spec.brought)
    yield StageStarted(stage="features", title="Looking for the evidence in the picture")
    evidence = gradient_evidence(bundle, pixels, spec.classes)
    return PictureEvidence(
        classes=tuple(
            ClassEvidence(label=label, positions=tuple(tuple(row) for row in positions))
            for label, positions in zip(spec.classes, evidence.tolist(), strict=True)
        )
    )


def _pixels(spec: EvidenceSpec, info: BundleInfo) -> NDArray[np.uint8]:
    """The network's input, uint8 (S, S, 3)."""
    if spec.row is not None:
        return picture_of(spec, spec.row, info.image_size, info.interpolation)
    staging = Store.default().workspace(spec.workspace).path / "staging"
    try:
        with Image.open(staging / (spec.brought or "") / BROUGHT) as image:
            return np.array(image.convert("RGB"))
    except OSError:
        raise DataError("The picture is not here any more. Bring it again.") from None
