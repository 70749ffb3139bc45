"""What only the worker can find out of a run's spec, from the pictures: which strategy `auto` stands for. Knows no training."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.runs.start.options import following
from tl_core.runs.train.plan import Plan
from tl_core.training.frozen.embeddings import frozen_features
from tl_core.training.strategies.strategies import AUTO, strategy


def resolve(plan: Plan, pixels: NDArray[np.uint8]) -> Generator[Event, None, None]:
    """Put the strategy that the rule takes in the place of `auto`, in the plan and in the run's spec.

    Whether the pictures are similar to what the backbone knows is measured on their frozen features, where the rule asks.

    Raises:
        WeightsUnavailable, DownloadFailed: the pretrained weights cannot be had.
        DeviceError: torch cannot use the device.
        DiskFull: no space is left.
        ModelError: the backbone gives values that are no numbers, or cannot be exported.
    """
    if plan.spec.strategy != AUTO:
        return
    from tl_core.training.strategies.advice import LAST_RESORT, advise, needs_similarity
    from tl_core.training.transferability import transferability

    yield StageStarted(stage="features", title="Finding out which strategy suits these pictures")
    train = plan.rows("train")
    similar: bool | None = None
    if needs_similarity(len(train)):
        features = yield from frozen_features(
            pixels,
            plan.network,
            plan.weights.name,
            device=plan.spec.device,
            cache=plan.cache,
            key=plan.key(),
        )
        found = transferability(features[train], plan.labels[train], plan.spec.seed)
        yield Notice(message=found.said(plan.network.name))
        similar = found.similar
    advice = advise(len(train), similar, plan.network, stages=plan.spec.stages)
    chosen = advice.strategy or LAST_RESORT
    plan.take(following(plan.spec, chosen, plan.dataset, reason=advice.reason))
    yield Notice(message=f"The strategy is {strategy(chosen).title!r} ({chosen}). {advice.reason}")
