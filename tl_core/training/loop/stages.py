"""One number for each stage: how hard the pictures pull at it before training, and how far training moved it. Needs torch."""

import math
from collections.abc import Collection, Generator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from tl_core.documents.events import Event
from tl_core.documents.report import StageMoved
from tl_core.documents.spec import TrainSpec
from tl_core.models.build import Backbone
from tl_core.training.loop.inputs import Inputs
from tl_core.training.loop.steps import Trainer
from tl_core.training.strategies.strategies import Strategy

IMAGES = 128
"""Training images whose gradient is computed, or all where there are fewer."""


def stage_pulls(
    backbone: Backbone,
    inputs: Inputs,
    labels: NDArray[np.integer],
    train_rows: NDArray[np.integer],
    *,
    spec: TrainSpec,
    strategy: Strategy,
) -> Generator[Event, None, tuple[float, ...]]:
    """For each stage from the stem up, the norm of its gradient over the norm of its weights; 0 where it has no weights.

    Surgical fine-tuning (arXiv 2210.11466) trains the stage with the largest ratio. The gradient is that of the mean loss on some
    unchanged training images, drawn by the spec's seed, with the head that `backbone` has. `inputs` are pixels; `labels` (N,) are
    the labels of its rows. Weights and statistics are not changed; the network stays on the device, in eval mode.

    Raises:
        DeviceError: not even one image fits the device's memory.
    """
    rows = np.random.default_rng(spec.seed).permutation(train_rows)[:IMAGES]
    every = spec.model_copy(update={"learning_stages": None})
    trainer = Trainer(backbone, inputs, labels, spec=every, strategy=replace(strategy, learns="all"), frozen=0)
    yield from trainer.pull(rows)
    ratios = []
    for stage in range(len(backbone.stages)):
        gradient, weight = 0.0, 0.0
        for parameter in backbone.stage_parameters(stage):
            weight += _square(parameter)
            if parameter.grad is not None:
                gradient += _square(parameter.grad)
        ratios.append((gradient / weight) ** 0.5 if weight else 0.0)
    for parameter in backbone.parameters():
        parameter.grad = None
    return tuple(ratios)


def _square(tensor: Tensor) -> float:
    """The squared norm of `tensor`, summed on the processor: Apple's GPUs have no float64."""
    return float(tensor.detach().cpu().double().square().sum())


def stage_movement(
    before: Mapping[str, Tensor], backbone: Backbone, learned_stages: Collection[int]
) -> tuple[StageMoved, ...]:
    """For each stage from the stem up, the norm of its parameters' change over their norm before.

    `before` are the pretrained tensors by the library's names (`Backbone.tensors`; those of the head may be missing);
    `learned_stages` are the numbers of the stages that were trained. Statistics of batch norm do not count, since they change
    without training. Fold low-rank updates first.

    Raises:
        KeyError: `before` lacks a tensor of a stage.
    """
    names = {id(parameter): name for name, parameter in backbone.module.named_parameters()}
    rows = []
    for number, (stage, _) in enumerate(backbone.stages):
        change, length, count = 0.0, 0.0, 0
        for parameter in backbone.stage_parameters(number):
            start = before[names[id(parameter)]].detach().double().cpu()
            now = parameter.detach().double().cpu().reshape(start.shape)
            change += float((now - start).square().sum())
            length += float(start.square().sum())
            count += parameter.numel()
        rows.append(
            StageMoved(
                name=stage,
                distance=math.sqrt(change / length) if length else 0.0,
                parameters=count,
                learned=number in learned_stages,
            )
        )
    return tuple(rows)
