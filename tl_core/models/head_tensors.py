"""A head's weight (C, D) and bias (C,) as the tensors of the library's own files, and back. NumPy only, no torch."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tl_core.models.registry import Network


def head_tensors(
    network: Network, weight: NDArray[np.float32], bias: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """`weight` (C, D) and `bias` (C,) by the library's names and in its shapes, with auxiliary heads of zeros, which are never trained."""
    family = network.layout
    tensors = {
        f"{network.head}.weight": weight.reshape(*weight.shape, *family.head_trailing),
        f"{network.head}.bias": bias,
    }
    for auxiliary in family.auxiliary:
        tensors[f"{auxiliary.head}.weight"] = np.zeros((len(bias), auxiliary.features), np.float32)
        tensors[f"{auxiliary.head}.bias"] = np.zeros(len(bias), np.float32)
    return tensors


def head_of(
    network: Network, tensors: Mapping[str, NDArray[np.float32]]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The head's weight (C, D) and bias (C,) from the `tensors` of a whole network."""
    weight = tensors[f"{network.head}.weight"]
    return weight.reshape(weight.shape[:2]), tensors[f"{network.head}.bias"]
