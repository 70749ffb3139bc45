"""The stages of a training run in order: pixels, features, what learns, bundle, report. Knows no process, lock or status.

A head on a frozen backbone is fitted on cached features with ONNX Runtime, without torch where the backbone was exported
before; strategies that take steps build the network in torch. Both end in the same bundle and the same report.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import tl_core
from tl_core.documents.base import write_atomically
from tl_core.documents.bundle import BundleInfo
from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.documents.manifest import SPLITS, Manifest
from tl_core.documents.report import Report
from tl_core.documents.spec import TrainSpec
from tl_core.errors import ModelError
from tl_core.runs.store import DatasetFolder, RunFolder, Store

if TYPE_CHECKING:
    from tl_core.data.cache import Cache
    from tl_core.models.build import Backbone
    from tl_core.models.registry import Network, WeightsRow
    from tl_core.serving.predictor import Predictor
    from tl_core.training.head import Head
    from tl_core.training.strategies import Strategy

AGREEMENT = 1e-3
"""How far a probability from cached features may lie from the bundle's own."""
_COMPARED = 16


class _Job:
    """What every stage of one run reads: the spec, its rows of the tables, the data set and who is in which split."""

    def __init__(self, run: RunFolder) -> None:
        from tl_core.models.registry import network
        from tl_core.training.strategies import frozen_stages, strategy

        store = Store.default()
        self.run = run
        self.spec: TrainSpec = run.spec()
        self.cache: Cache = store.cache
        self.dataset: DatasetFolder = store.workspace(self.spec.workspace).dataset(self.spec.dataset)
        self.network: Network = network(self.spec.backbone)
        self.weights: WeightsRow = self.network.weights_row(self.spec.weights)
        self.strategy: Strategy = strategy(self.spec.strategy)
        self.frozen = frozen_stages(self.strategy, len(self.network.stages), self.spec.stages)

    @cached_property
    def manifest(self) -> Manifest:
        return self.dataset.manifest()

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        return np.array([image.label for image in self.manifest.images], dtype=np.int64)

    @cached_property
    def splits(self) -> NDArray[np.str_]:
        from tl_core.data.split import assign

        return assign(self.manifest, self.spec.seed)

    def rows(self, split: str) -> NDArray[np.intp]:
        return np.flatnonzero(self.splits == split)

    @property
    def classes(self) -> tuple[str, ...]:
        return self.manifest.classes

    def key(self, *more: str) -> str:
        """Names, in the cache, what is computed from these pictures and this backbone."""
        from tl_core.data.pixels import pixels_key
        from tl_core.models.export import backbone_key
        from tl_core.training.features import computed_key

        size = self.spec.image_size
        pixels = pixels_key(self.manifest, size=size, interpolation=self.weights.interpolation)
        return computed_key(pixels, backbone_key(self.network, self.weights.name, size), *more)


@dataclass(frozen=True, kw_only=True)
class _Learned:
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


def train_job(run: RunFolder) -> Generator[Event, None, None]:
    """Train what the spec asks for, to a bundle and a report in the run folder.

    Raises:
        GraftError: pictures, weights, memory or disk that do not suffice, in words.
    """
    yield StageStarted(stage="preparing", title="Preparing the pictures")
    from tl_core.data.checks import require_trainable
    from tl_core.data.pixels import load_pixels

    job = _Job(run)
    require_trainable(job.manifest)
    pixels = yield from load_pixels(
        job.dataset.path,
        job.manifest,
        size=job.spec.image_size,
        interpolation=job.weights.interpolation,
        cache=job.cache,
    )
    workshop = run.path / "workshop"
    try:
        if job.strategy.takes_steps:
            learned = yield from _train(job, pixels, workshop)
        else:
            learned = yield from _fit(job, pixels)
        yield from _finish(job, pixels, learned, workshop)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    run.finish_file.unlink(missing_ok=True)
    run.best.unlink(missing_ok=True)


def _fit(job: _Job, pixels: NDArray[np.uint8]) -> Generator[Event, None, _Learned]:
    """The head alone, in closed form."""
    from safetensors.numpy import load_file

    from tl_core.models.export import ONNX_NAME, TENSORS_NAME

    exported, features, head = yield from _fitted_head(job, pixels)
    trainable = job.network.head_parameters(len(job.classes))
    return _Learned(
        graph=exported / ONNX_NAME,
        weight=head.weight,
        bias=head.bias,
        tensors={
            **load_file(exported / TENSORS_NAME),
            f"{job.network.head}.weight": head.weight,
            f"{job.network.head}.bias": head.bias,
        },
        trainable=trainable,
        total=job.network.backbone_parameters + trainable,
        features=features,
    )


def _fitted_head(
    job: _Job, pixels: NDArray[np.uint8]
) -> Generator[Event, None, tuple[Path, NDArray[np.float32], Head]]:
    """The exported backbone's folder, its features of all rows, and the logistic head on them."""
    from tl_core.models.export import ONNX_NAME, exported_backbone
    from tl_core.training.features import extract
    from tl_core.training.head import fit_logistic

    exported = yield from exported_backbone(job.network, job.weights.name, job.spec.image_size, job.cache)
    yield StageStarted(stage="features", title="Looking at every picture once")
    if job.spec.device == "cpu":
        features = yield from extract(exported / ONNX_NAME, pixels, cache=job.cache, key=job.key())
    else:
        features = yield from _features_on_device(job, pixels)
    yield StageStarted(stage="training", title="Fitting the last layer")
    train, val = job.rows("train"), job.rows("val")
    head = yield from fit_logistic(
        features[train], job.labels[train], features[val], job.labels[val], classes=len(job.classes)
    )
    return exported, features, head


def _features_on_device(job: _Job, pixels: NDArray[np.uint8]) -> Generator[Event, None, NDArray[np.float32]]:
    from tl_core.training.activations import embed_on_device

    backbone = yield from _build(job, classes=None)
    return (yield from embed_on_device(backbone, pixels, cache=job.cache, key=job.key(), device=job.spec.device))


def _build(job: _Job, *, classes: int | None) -> Generator[Event, None, Backbone]:
    from tl_core.models.build import build
    from tl_core.models.weights import fetch

    file = yield from fetch(job.network, job.weights.name)
    return build(job.network, weights=job.weights.name, weights_file=file, classes=classes, seed=job.spec.seed)


def _train(job: _Job, pixels: NDArray[np.uint8], workshop: Path) -> Generator[Event, None, _Learned]:
    """The last stages or the whole network, by gradient steps; or what an earlier worker saved of that."""
    from tl_core.models.export import export_backbone
    from tl_core.training.loop import learning_parameters

    if job.run.finishing:
        from safetensors.torch import load_file

        backbone = yield from _build(job, classes=len(job.classes))
        backbone.load_tensors(load_file(job.run.best))
        yield Notice(message="Finishing with the best state that training reached before it was stopped.")
    else:
        backbone = yield from _take_steps(job, pixels)
    yield StageStarted(stage="export", title="Writing the classifier")
    graph = workshop / "backbone.onnx"
    export_backbone(backbone, job.spec.image_size, graph)
    tensors = {name: tensor.numpy() for name, tensor in backbone.tensors().items()}
    trainable, total = learning_parameters(backbone, job.frozen)
    return _Learned(
        graph=graph,
        weight=tensors[f"{job.network.head}.weight"],
        bias=tensors[f"{job.network.head}.bias"],
        tensors=tensors,
        trainable=trainable,
        total=total,
        features=None,
    )


def _take_steps(job: _Job, pixels: NDArray[np.uint8]) -> Generator[Event, None, Backbone]:
    import torch
    from safetensors.torch import save

    from tl_core.training.activations import frozen_activations
    from tl_core.training.inputs import Inputs
    from tl_core.training.loop import fit, set_fitted_head
    from tl_core.training.trial import channels_last_is_faster

    device = torch.device(job.spec.device)
    head: Head | None = None
    if job.strategy.head_start == "fitted":
        _, _, head = yield from _fitted_head(job, pixels)
    backbone = yield from _build(job, classes=len(job.classes))
    if head is not None:
        set_fitted_head(backbone, head)
    activations: NDArray[np.float16] | None = None
    if job.frozen:
        yield StageStarted(stage="features", title="Running the frozen stages once")
        activations = yield from frozen_activations(
            backbone,
            pixels,
            frozen=job.frozen,
            cache=job.cache,
            key=job.key(str(job.frozen)),
            device=job.spec.device,
        )
    yield StageStarted(stage="training", title=f"Training: {job.strategy.title.lower()}")
    spec = job.spec
    if spec.channels_last is None:
        spec = spec.model_copy(
            update={
                "channels_last": channels_last_is_faster(
                    backbone,
                    frozen=job.frozen,
                    image_size=spec.image_size,
                    device=spec.device,
                    bfloat16=spec.precision == "bfloat16",
                    cache=job.cache,
                )
            }
        )
        job.run.write_spec(spec)
    if activations is None:
        inputs = Inputs.of_pixels(backbone, pixels, frozen=job.frozen, device=device, level=job.strategy.augmentation)
    else:
        inputs = Inputs.of_activations(activations, device=device)
    yield from fit(
        backbone,
        inputs,
        job.labels,
        job.rows("train"),
        job.rows("val"),
        spec=spec,
        strategy=job.strategy,
        frozen=job.frozen,
        save_best=lambda tensors: write_atomically(job.run.best, save(tensors)),
    )
    return backbone


def _finish(job: _Job, pixels: NDArray[np.uint8], learned: _Learned, workshop: Path) -> Generator[Event, None, None]:
    """Calibrate, write the bundle, measure it on the held-out split, write the report."""
    from tl_core.evaluation.metrics import answers, probabilities, split_metrics
    from tl_core.models.export import attach_head
    from tl_core.serving.bundle import write_bundle
    from tl_core.serving.card import model_card
    from tl_core.serving.predictor import Predictor
    from tl_core.serving.unpack import MODEL_CARD
    from tl_core.training.features import embed_rows
    from tl_core.training.head import temperature

    yield StageStarted(stage="export", title="Writing the classifier")
    val, test = job.rows("val"), job.rows("test")
    embeddings = embed_rows(learned.graph, pixels, val) if learned.features is None else learned.features[val]
    val_logits = embeddings @ learned.weight.T + learned.bias
    calibration = temperature(val_logits, job.labels[val])
    graph = workshop / "model.onnx"
    attach_head(learned.graph, learned.weight / np.float32(calibration), learned.bias / np.float32(calibration), graph)
    info = _info(job, calibration)
    bundle = write_bundle(job.run.bundle, info=info, onnx=graph, tensors=learned.tensors, card=model_card(info, None))

    yield StageStarted(stage="evaluation", title="Measuring it on pictures that it has never seen")
    predictor = Predictor(bundle)
    if learned.features is None:
        test_logits = yield from _ask(predictor, pixels, test)
    else:
        test_logits = (learned.features[test] @ learned.weight.T + learned.bias) / np.float32(calibration)
        _require_agreement(predictor, pixels, test, test_logits)
    test_probabilities = probabilities(test_logits)
    report = Report(
        classes=job.classes,
        images={split: len(job.rows(split)) for split in SPLITS},
        refused_files=len(job.manifest.refused),
        own_split=job.manifest.own_splits,
        test=split_metrics(test_probabilities, job.labels[test], job.classes),
        val=split_metrics(probabilities(val_logits / calibration), job.labels[val], job.classes),
        answers=answers(test_probabilities, job.labels[test], test),
        trainable_parameters=learned.trainable,
        total_parameters=learned.total,
    )
    write_atomically(bundle.folder / MODEL_CARD, model_card(info, report).encode())
    report.write(job.run.path / "report.json")


def _info(job: _Job, calibration: float) -> BundleInfo:
    from tl_core.data.split import split_hashes

    made_with = ["onnx", "onnxruntime", "scikit-learn", *(["torch"] if job.strategy.takes_steps else [])]
    return BundleInfo(
        name=job.run.name,
        classes=job.classes,
        image_size=job.spec.image_size,
        interpolation=job.weights.interpolation,
        backbone=job.network.name,
        weights=job.weights.name,
        licence=job.weights.licence,
        strategy=job.strategy.name,
        temperature=calibration,
        embedding_size=job.network.embedding_size,
        linear_on_pooled=job.network.layout.linear_on_pooled,
        split_hashes=split_hashes(job.manifest, job.splits),
        created=time.time(),
        versions={"graft": tl_core.__version__, **{name: version(name) for name in made_with}},
    )


def _ask(
    predictor: Predictor, pixels: NDArray[np.uint8], rows: NDArray[np.intp]
) -> Generator[Event, None, NDArray[np.float32]]:
    """The bundle's logits (M, C) of the pictures `rows`."""
    from tl_core.data.pace import Pace
    from tl_core.serving.predictor import BATCH

    pace = Pace("evaluation", len(rows))
    parts = []
    for start in range(0, len(rows), BATCH):
        parts.append(predictor.logits(pixels[rows[start : start + BATCH]]))
        event = pace.at(min(start + BATCH, len(rows)))
        if event is not None:
            yield event
    return np.concatenate(parts)


def _require_agreement(
    predictor: Predictor, pixels: NDArray[np.uint8], rows: NDArray[np.intp], logits: NDArray[np.float32]
) -> None:
    """Cached features may stand for the bundle only where both say the same."""
    from tl_core.evaluation.metrics import probabilities

    compared = np.linspace(0, len(rows) - 1, min(_COMPARED, len(rows))).astype(int)
    own = probabilities(predictor.logits(pixels[rows[compared]]))
    difference = float(np.abs(own - probabilities(logits[compared])).max(initial=0.0))
    if not difference <= AGREEMENT:
        raise ModelError(
            f"The exported classifier answers differently from the one that was measured (by {difference:.1e}). "
            "Please report this, with the run's log."
        )
