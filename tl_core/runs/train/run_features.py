"""The frozen features of a run's pictures, as its head, the rule for `auto` and the learning-rate test need them."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.events import Event
from tl_core.runs.train.plan import Plan
from tl_core.training.frozen.features import features_before, frozen_features


def run_features(plan: Plan, pixels: NDArray[np.uint8]) -> Generator[Event, None, NDArray[np.float32]]:
    """Embeddings (N, D) of `pixels` (N, S, S, 3) by the plan's frozen backbone, from the cache where it has them.

    Raises:
        GraftError: as `frozen_features`.
    """
    weights, size = plan.weights.name, plan.spec.image_size
    return (
        yield from frozen_features(
            pixels,
            plan.network,
            weights,
            device=plan.spec.device,
            cache=plan.cache,
            key=plan.key(),
            before=features_before(plan.manifest, plan.network, weights, size),
        )
    )
