"""Where in one picture the evidence for some classes lies, in the network of a run, by gradients."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tl_core.data.pixel_arrays import read_copy
from tl_core.disk import remove
from tl_core.documents.bundle_info import BundleInfo
from tl_core.documents.questions.finished_runs import BROUGHT, ClassEvidence, EvidenceSpec, PictureEvidence
from tl_core.errors import DataError
from tl_core.models.gradient_maps import class_evidence
from tl_core.runs.questions.about_run import require_ended, subject
from tl_core.runs.store.store import Store, Workspace
from tl_core.serving.bundle import read_bundle
from tl_core.serving.torch_network import torch_network


def picture_evidence(spec: EvidenceSpec) -> PictureEvidence:
    """The evidence for `spec.classes`. A picture that somebody brought is removed, also where there is no answer.

    Raises:
        NotFound: the run or the data set was deleted.
        DataError: the picture is missing or damaged.
        BundleError, ModelError: the network cannot be built, or its features say nothing about places.
    """
    workspace = Store.default().workspace(spec.workspace)
    try:
        run = workspace.run(spec.run)
        require_ended(run)
        bundle = read_bundle(run.bundle)
        pixels = _pixels(spec, bundle.info, workspace)
    finally:
        if spec.brought is not None:
            remove(workspace.path / "staging" / spec.brought)
    found = class_evidence(torch_network(bundle), pixels, spec.classes)
    return PictureEvidence(
        classes=tuple(
            ClassEvidence(label=label, positions=tuple(tuple(row) for row in positions))
            for label, positions in zip(spec.classes, found.tolist(), strict=True)
        )
    )


def _pixels(spec: EvidenceSpec, info: BundleInfo, workspace: Workspace) -> NDArray[np.uint8]:
    """The network's input, uint8 (S, S, 3)."""
    if spec.row is not None:
        dataset = subject(spec).dataset
        return read_copy(dataset.path, dataset.manifest().images[spec.row], info.image_size, info.interpolation)
    try:
        with Image.open(workspace.path / "staging" / (spec.brought or "") / BROUGHT) as image:
            return np.array(image.convert("RGB"))
    except OSError:
        raise DataError("The picture is not here any more. Bring it again.") from None
