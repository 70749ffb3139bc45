"""The part of a run that learns: a head fitted on frozen features, or stages trained by gradient steps.

A head on a frozen backbone needs no torch where the backbone was exported before. Knows no bundle and no report.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.base import write_atomically
from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.errors import NotFound
from tl_core.runs.plan import Plan

if TYPE_CHECKING:
    from torch import Tensor

    from tl_core.models.build import Backbone
    from tl_core.training.activations import Activations
    from tl_core.training.head import Head


@dataclass(frozen=True, kw_only=True)
class Learned:
    """What training gave: a graph without its head, the head, and every tensor by the library's name."""

    graph: Path
    weight: NDArray[np.float32]
    """(C, D), before the temperature."""
    bias: NDArray[np.float32]
    """(C,)"""
    tensors: dict[str, NDArray[np.float32]]
    trainable: int
    total: int
    features: NDArray[np.float32] | None
    """(N, D) of all rows, where the whole backbone stayed frozen; else None: the graph answers."""


def learn(plan: Plan, pixels: NDArray[np.uint8], workshop: Path) -> Generator[Event, None, Learned]:
    """Follow the plan's strategy on `pixels` (N, S, S, 3); files on the way go to `workshop`.

    Raises:
        WeightsUnavailable, DownloadFailed: the pretrained weights cannot be had.
        DeviceError: not even one picture fits the device's memory.
        DiskFull: no space is left.
        ModelError: the backbone gives values that are no numbers, or cannot be exported.
    """
    if plan.strategy.takes_steps:
        return (yield from _train(plan, pixels, workshop))
    return (yield from _fit(plan, pixels))


def _fit(plan: Plan, pixels: NDArray[np.uint8]) -> Generator[Event, None, Learned]:
    """The head alone, in closed form."""
    from safetensors.numpy import load_file

    from tl_core.models.export import ONNX_NAME, TENSORS_NAME

    exported, features, head = yield from _fitted_head(plan, pixels)
    trainable = plan.network.head_parameters(len(plan.classes))
    return Learned(
        graph=exported / ONNX_NAME,
        weight=head.weight,
        bias=head.bias,
        tensors={
            **load_file(exported / TENSORS_NAME),
            f"{plan.network.head}.weight": head.weight,
            f"{plan.network.head}.bias": head.bias,
        },
        trainable=trainable,
        total=plan.network.backbone_parameters + trainable,
        features=features,
    )


def _fitted_head(
    plan: Plan, pixels: NDArray[np.uint8]
) -> Generator[Event, None, tuple[Path, NDArray[np.float32], Head]]:
    """The exported backbone's folder, its features of all rows, and the logistic head on them."""
    from tl_core.models.export import ONNX_NAME, exported_backbone
    from tl_core.training.features import extract
    from tl_core.training.head import fit_logistic

    exported = yield from exported_backbone(plan.network, plan.weights.name, plan.spec.image_size, plan.cache)
    yield StageStarted(stage="features", title="Looking at every picture once")
    if plan.spec.device == "cpu":
        features = yield from extract(exported / ONNX_NAME, pixels, cache=plan.cache, key=plan.key())
    else:
        features = yield from _features_on_device(plan, pixels)
    yield StageStarted(stage="training", title="Fitting the last layer")
    train, val = plan.rows("train"), plan.rows("val")
    head = yield from fit_logistic(
        features[train], plan.labels[train], features[val], plan.labels[val], classes=len(plan.classes)
    )
    # Minutes may have gone by, and the cache may have let go of it: what is asked for again is used again, or made again.
    exported = yield from exported_backbone(plan.network, plan.weights.name, plan.spec.image_size, plan.cache)
    return exported, features, head


def _features_on_device(plan: Plan, pixels: NDArray[np.uint8]) -> Generator[Event, None, NDArray[np.float32]]:
    from tl_core.training.activations import embed_on_device
    from tl_core.training.inputs import torch_device

    torch_device(plan.spec.device)
    backbone = yield from _build(plan, classes=None)
    return (yield from embed_on_device(backbone, pixels, cache=plan.cache, key=plan.key(), device=plan.spec.device))


def _build(plan: Plan, *, classes: int | None) -> Generator[Event, None, Backbone]:
    from tl_core.models.build import build
    from tl_core.models.weights import fetch

    file = yield from fetch(plan.network, plan.weights.name)
    return build(plan.network, weights=plan.weights.name, weights_file=file, classes=classes, seed=plan.spec.seed)


def _train(plan: Plan, pixels: NDArray[np.uint8], workshop: Path) -> Generator[Event, None, Learned]:
    """The last stages or the whole network, by gradient steps; or what an earlier worker saved of that."""
    from tl_core.models.export import export_backbone
    from tl_core.training.loop import learning_parameters

    if plan.run.finishing:
        saved = best_state(plan.run.best)
        backbone = yield from _build(plan, classes=len(plan.classes))
        backbone.load_tensors(saved)
        yield Notice(message="Finishing with the best state that training reached before it was stopped.")
    else:
        backbone = yield from _take_steps(plan, pixels)
    yield StageStarted(stage="export", title="Writing the classifier")
    graph = workshop / "backbone.onnx"
    export_backbone(backbone, plan.spec.image_size, graph)
    tensors = {name: tensor.numpy() for name, tensor in backbone.tensors().items()}
    trainable, total = learning_parameters(backbone, plan.frozen)
    return Learned(
        graph=graph,
        weight=tensors[f"{plan.network.head}.weight"],
        bias=tensors[f"{plan.network.head}.bias"],
        tensors=tensors,
        trainable=trainable,
        total=total,
        features=None,
    )


def best_state(path: Path) -> dict[str, Tensor]:
    """The tensors of best.safetensors. Raises NotFound where it cannot be read, as a power cut may leave it."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise NotFound("The best state of this run is damaged, so it cannot be finished. Start it again.") from error


def _take_steps(plan: Plan, pixels: NDArray[np.uint8]) -> Generator[Event, None, Backbone]:
    from safetensors.torch import save

    from tl_core.models.export import exported_backbone
    from tl_core.training.activations import frozen_activations
    from tl_core.training.inputs import Inputs, torch_device
    from tl_core.training.loop import fit, set_fitted_head
    from tl_core.training.trial import channels_last_is_faster

    device = torch_device(plan.spec.device)
    backbone = yield from _build(plan, classes=len(plan.classes))
    activations: Activations | None = None
    if plan.frozen:
        exported = yield from exported_backbone(plan.network, plan.weights.name, plan.spec.image_size, plan.cache)
        yield StageStarted(stage="features", title="Running the frozen stages once")
        # Before the fitted head: where nothing is kept yet, one pass gives its features, too.
        activations = yield from frozen_activations(
            backbone,
            exported,
            pixels,
            frozen=plan.frozen,
            train_rows=plan.rows("train"),
            recipe=plan.spec.recipe,
            epochs=plan.spec.epochs,
            seed=plan.spec.seed,
            cache=plan.cache,
            key=plan.key(),
            device=plan.spec.device,
        )
    if plan.strategy.head_start == "fitted":
        _, _, head = yield from _fitted_head(plan, pixels)
        set_fitted_head(backbone, head)
    yield StageStarted(stage="training", title=f"Training: {plan.strategy.title.lower()}")
    spec = plan.spec
    if spec.channels_last is None:
        spec = spec.model_copy(
            update={
                "channels_last": channels_last_is_faster(
                    backbone,
                    frozen=plan.frozen,
                    image_size=spec.image_size,
                    device=spec.device,
                    bfloat16=spec.precision == "bfloat16",
                    cache=plan.cache,
                )
            }
        )
        plan.run.write_spec(spec)
    if activations is None:
        inputs = Inputs.of_pixels(backbone, pixels, frozen=plan.frozen, device=device, level=spec.recipe.augmentation)
    else:
        inputs = Inputs.of_activations(activations.plain, device=device, copies=activations.copies)
    yield from fit(
        backbone,
        inputs,
        plan.labels,
        plan.rows("train"),
        plan.rows("val"),
        spec=spec,
        strategy=plan.strategy,
        frozen=plan.frozen,
        save_best=lambda tensors: write_atomically(plan.run.best, save(tensors)),
    )
    return backbone
