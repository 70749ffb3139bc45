"""Where in a picture the evidence for classes lies in a network whose logits are not linear in its map: by gradients, in torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.bundle_info import NO_WEIGHTS
from tl_core.errors import BundleError, UnknownName
from tl_core.models.registry import network
from tl_core.serving.bundle import Bundle
from tl_core.serving.bundle_files import TENSORS

if TYPE_CHECKING:
    from tl_core.models.build import Backbone


def gradient_evidence(bundle: Bundle, pixels: NDArray[np.uint8], classes: Sequence[int]) -> NDArray[np.float32]:
    """How much each position of the picture `pixels` uint8 (S, S, 3) speaks for each of `classes` (indices): float32 (M, h, w).

    Raises:
        BundleError: the bundle's tensors do not do what it says.
        ModelError: the network's features have one position only.
    """
    from tl_core.models.gradient_maps import class_evidence

    evidence = class_evidence(torch_network(bundle), pixels, classes)
    if not np.isfinite(evidence).all():
        raise BundleError(f"{TENSORS} gives values that are no numbers.")
    return evidence


def torch_network(bundle: Bundle) -> Backbone:
    """The network that the registry names, with the tensors of `bundle`, in eval mode on the CPU; no code of the bundle is run.

    Its logits are not divided by the temperature.

    Raises:
        BundleError: Graft does not know the network here, or the tensors are not its own.
    """
    from safetensors.torch import load_file

    from tl_core.models.build import build

    info = bundle.info
    try:
        row = network(info.backbone)
        like = None if info.weights == NO_WEIGHTS else row.weights_row(info.weights).name
    except UnknownName as error:
        raise BundleError(
            f"The bundle's network {info.backbone} cannot be built here. {error.message} One of timm is added by: describe."
        ) from error
    backbone = build(row, weights=None, classes=len(info.classes), like=like)
    try:
        # A bundle holds the counters of batch norm as lists of one number.
        counters = ".num_batches_tracked"
        tensors = load_file(bundle.tensors)
        backbone.load_tensors(
            {
                name: value.reshape(()) if name.endswith(counters) and value.numel() == 1 else value
                for name, value in tensors.items()
            }
        )
    except ValueError as error:
        raise BundleError(f"{TENSORS} cannot be used. {error}") from error
    return backbone
