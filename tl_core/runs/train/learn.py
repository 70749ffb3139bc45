"""The training step of a run: fits a head on frozen features, or trains stages by gradient steps.

Fitting a head on frozen features needs no torch if the backbone was exported before.
"""

from __future__ import annotations

import math
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.events import Event, StageStarted
from tl_core.documents.report import StageMoved
from tl_core.runs.train.find_head import OutOfFold, fitted_head
from tl_core.runs.train.plan import Plan

if TYPE_CHECKING:
    from tl_core.models.build import Backbone


@dataclass(frozen=True, kw_only=True)
class Learned:
    """The outcome of training: a graph without its head, the head, and every tensor by the name in the library's network."""

    graph: Path
    weight: NDArray[np.float32]
    """(C, D), not divided by the temperature."""
    bias: NDArray[np.float32]
    """(C,)"""
    tensors: dict[str, NDArray[np.float32]]
    trainable: int
    total: int
    features: NDArray[np.float32] | None
    """(N, D), of all images, if the whole backbone stayed frozen; else None, and the graph has to be run."""
    out_of_fold: OutOfFold | None = None
    """Where cross-validation chose the head's settings: what it answered to the pictures outside the test."""
    backbone: Backbone | None = None
    """The trained network, where it answers the held-out pictures itself, on a device other than the CPU; else None."""
    moved: tuple[StageMoved, ...] = ()
    """The stages from the stem up; empty if the whole backbone stayed frozen."""


def learn(plan: Plan, pixels: NDArray[np.uint8], workshop: Path) -> Generator[Event, None, Learned]:
    """Train with the plan's strategy on `pixels` uint8 (N, S, S, 3); temporary files are written to `workshop`.

    Raises:
        WeightsUnavailable, DownloadFailed: the pretrained weights are neither here nor can be downloaded.
        DeviceError: not even one picture fits the device's memory.
        DiskFull: no space is left.
        ModelError: the backbone gives values that are not finite, or cannot be exported.
    """
    if plan.strategy.takes_steps:
        return (yield from _train(plan, pixels, workshop))
    return (yield from _fit(plan, pixels))


def _fit(plan: Plan, pixels: NDArray[np.uint8]) -> Generator[Event, None, Learned]:
    """Fit the head on the features of the frozen backbone."""
    from safetensors.numpy import load_file

    from tl_core.models.graphs.edit import head_tensors
    from tl_core.models.graphs.export import ONNX_NAME, TENSORS_NAME, exported_backbone

    yield from exported_backbone(plan.network, plan.weights.name, plan.spec.image_size, plan.cache)
    found = yield from fitted_head(plan, pixels)
    # Minutes may have passed, in which the cache may have dropped the backbone: it is marked as used, or exported again.
    exported = yield from exported_backbone(plan.network, plan.weights.name, plan.spec.image_size, plan.cache)
    trainable = plan.network.head_parameters(len(plan.classes))
    head = found.head
    return Learned(
        graph=exported / ONNX_NAME,
        weight=head.weight,
        bias=head.bias,
        tensors={**load_file(exported / TENSORS_NAME), **head_tensors(plan.network, head.weight, head.bias)},
        trainable=trainable,
        total=plan.network.backbone_parameters + trainable,
        features=found.features,
        out_of_fold=found.out_of_fold,
    )


def _train(plan: Plan, pixels: NDArray[np.uint8], workshop: Path) -> Generator[Event, None, Learned]:
    """Train stages by gradient steps."""
    from tl_core.models.graphs.edit import head_of
    from tl_core.models.graphs.from_torch import export_backbone
    from tl_core.runs.train.fine_tune import train
    from tl_core.training.strategies.strategies import learning_parameters

    backbone, moved = yield from train(plan, pixels)
    yield StageStarted(stage="export", title="Writing the classifier")
    graph = workshop / "backbone.onnx"
    export_backbone(backbone, plan.spec.image_size, graph)
    tensors = {name: tensor.numpy() for name, tensor in backbone.tensors().items()}
    weight, bias = head_of(plan.network, tensors)
    learning = learning_parameters(
        plan.network,
        plan.strategy,
        plan.spec.stages,
        {name: tuple(parameter.shape) for name, parameter in backbone.module.named_parameters()},
        classes=len(plan.classes),
        rank=plan.spec.recipe.lora_rank,
        learning=plan.spec.learning_stages,
    )
    return Learned(
        graph=graph,
        weight=weight,
        bias=bias,
        tensors=tensors,
        trainable=sum(math.prod(shape) for shape in learning.values()),
        total=plan.network.backbone_parameters + plan.network.head_parameters(len(plan.classes)),
        features=None,
        backbone=backbone if plan.spec.device != "cpu" else None,
        moved=moved,
    )
