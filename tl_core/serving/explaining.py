"""Why a bundle says so of a picture: where the evidence for its classes lies, whatever its network is like."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tl_core.errors import BundleError
from tl_core.serving.bundle_files import TENSORS
from tl_core.serving.heatmaps import linear
from tl_core.serving.predictor import Predictor
from tl_core.serving.torch_network import torch_network


def class_positions(model: Predictor, pixels: NDArray[np.uint8], classes: Sequence[int]) -> NDArray[np.float32]:
    """How much each position of the picture `pixels` uint8 (S, S, 3) speaks for each of `classes` (indices): float32 (M, h, w).

    It is read off the map where the logits are linear in it (`heatmaps.linear`), and computed by gradients with torch elsewhere.

    Raises:
        BundleError: the bundle's graph or tensors do not do what it says.
        ModelError: the network's features have one position only.
    """
    if linear(model.info):
        return model.evidence(pixels)[list(classes)]
    from tl_core.models.gradient_maps import class_evidence

    found = class_evidence(torch_network(model.bundle), pixels, classes)
    if not np.isfinite(found).all():
        raise BundleError(f"{TENSORS} gives values that are no numbers.")
    return found
