"""Which one stage the pictures pull at hardest: the length of its gradient for the length of its weights. Needs torch.

Surgical fine-tuning (arXiv 2210.11466) trains that stage alone. Nothing moves here; knows no epochs.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.events import Event
from tl_core.documents.spec import TrainSpec
from tl_core.models.build import Backbone
from tl_core.training.loop.inputs import Inputs
from tl_core.training.loop.steps import Trainer
from tl_core.training.strategies.strategies import Strategy

IMAGES = 128
"""Training images whose gradient is taken, or all where there are fewer."""


def stage_pulls(
    backbone: Backbone,
    inputs: Inputs,
    labels: NDArray[np.integer],
    train_rows: NDArray[np.integer],
    *,
    spec: TrainSpec,
    strategy: Strategy,
) -> Generator[Event, None, tuple[float, ...]]:
    """For each stage from the stem up, the norm of its gradient over the norm of its weights; 0 where it has none.

    The gradient is that of the mean loss on some training images as they are, drawn by the spec's seed, with the head that
    `backbone` has now. `inputs` are pixels; `labels` (N,) are those of its rows.

    Raises:
        DeviceError: not even one image fits the device's memory.
    """
    rows = np.random.default_rng(spec.seed).permutation(train_rows)[:IMAGES]
    every = spec.model_copy(update={"learning_stages": None})
    trainer = Trainer(backbone, inputs, labels, spec=every, strategy=replace(strategy, learns="all"), frozen=0)
    yield from trainer.pull(rows)
    found = []
    for stage in range(len(backbone.stages)):
        gradient, weight = 0.0, 0.0
        for parameter in backbone.stage_parameters(stage):
            weight += float(parameter.detach().double().square().sum())
            if parameter.grad is not None:
                gradient += float(parameter.grad.detach().double().square().sum())
        found.append((gradient / weight) ** 0.5 if weight else 0.0)
    for parameter in backbone.parameters():
        parameter.grad = None
    return tuple(found)
