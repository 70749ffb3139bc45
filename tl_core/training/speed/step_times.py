"""Training steps of one network and strategy timed on noise, with the memory that they take. Needs torch.

Each phase of the strategy, or each stage that it may choose, takes a warm step and two timed ones, as `loop` would take them.
"""

from __future__ import annotations

import copy
import tempfile
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tl_core.data.cache import Cache
from tl_core.documents.events import Event
from tl_core.documents.questions import Measurement, MeasureSpec
from tl_core.documents.spec import TrainSpec
from tl_core.hardware import peak_resident_mb
from tl_core.models.build import Backbone, build
from tl_core.models.registry import Network
from tl_core.training.frozen.keeping import PICTURES, batch_seconds
from tl_core.training.loop.inputs import Inputs, out_of_memory, torch_device, wait_for
from tl_core.training.loop.steps import Running, Trainer
from tl_core.training.speed.measure import WORKER_SECONDS, Export, exported, frozen_seconds, timed
from tl_core.training.speed.memory_layout import channels_last_is_faster
from tl_core.training.strategies.schedules import phases
from tl_core.training.strategies.strategies import Strategy
from tl_core.training.strategies.what_learns import count, first_learning

GPU_BATCH = 128
CONTEXT_MB = 500.0
"""Of a GPU's memory that CUDA itself takes, whatever runs."""


@dataclass(frozen=True)
class _Case:
    """One way in which the strategy's steps may be taken, and its share of them."""

    share: float
    frozen: int
    learning: tuple[int, ...] | None = None
    """The stages that were found to learn; None: what the strategy's row says."""


@dataclass(frozen=True)
class _Speed:
    step: float
    """Seconds a picture."""
    score: float
    cached: bool
    """Whether the frozen stages' output would be kept."""


def measure_steps(spec: MeasureSpec, on: Network, row: Strategy, cache: Cache) -> Generator[Event, None, Measurement]:
    """Raises as `measure.measure`."""
    device = torch_device(spec.device)
    begun = time.perf_counter()
    _import_library(on)
    backbone = build(on, weights=None, classes=spec.classes, like=spec.weights)
    start = WORKER_SECONDS + time.perf_counter() - begun
    _forget_peak(device)
    train = _train_spec(spec, row)
    cases = _cases(backbone, row, train)
    # A run looks once, at what learns in the end.
    layout = channels_last_is_faster(
        backbone,
        frozen=cases[-1].frozen,
        image_size=spec.image_size,
        device=spec.device,
        bfloat16=spec.precision == "bfloat16",
        micro_batch=train.micro_batch,
        cache=cache,
    )
    train = train.model_copy(update={"channels_last": layout})
    speeds: list[_Speed] = []
    for case in cases:
        speeds.append((yield from _time_case(backbone, case, train, row)))
    memory = _memory_mb(device)
    with tempfile.TemporaryDirectory(prefix="graft-measure-") as scratch:
        graph = yield from exported(spec, on, cache, Path(scratch))
        kept = [case.frozen for case, speed in zip(cases, speeds, strict=True) if speed.cached]
        whole, prefixes = _frozen(spec, backbone, graph, kept, Path(scratch))
    learning = [train.model_copy(update={"learning_stages": case.learning}) for case in cases]
    return Measurement(
        backbone=on.name,
        strategy=row.name,
        device=spec.device,
        frozen_seconds=whole,
        # Where stages join one by one, each phase has a prefix of its own; where one is chosen, only that one's is run.
        prefix_seconds=sum(prefixes) if row.thaws else sum(prefixes) / len(cases),
        step_seconds=sum(case.share * speed.step for case, speed in zip(cases, speeds, strict=True)),
        score_seconds=sum(case.share * speed.score for case, speed in zip(cases, speeds, strict=True)),
        start_seconds=start,
        export_seconds=graph.seconds,
        memory_mb=memory if device.type == "cuda" else max(memory, graph.memory_mb),
        peak_parameters=max(count(backbone, row, one)[0] for one in learning),
    )


def frozen_on_device(on: Network, spec: MeasureSpec) -> tuple[float, float]:
    """Seconds a picture through the whole frozen network by torch on the device, and its memory in megabytes."""
    device = torch_device(spec.device)
    _forget_peak(device)
    backbone = build(on, weights=None, classes=None, like=spec.weights)
    seconds = _forward(backbone, len(backbone.stages), spec)
    return seconds, _memory_mb(device)


def _import_library(on: Network) -> None:
    if on.source == "timm":
        import timm  # noqa: F401
    else:
        import torchvision  # noqa: F401


def _train_spec(spec: MeasureSpec, row: Strategy) -> TrainSpec:
    return TrainSpec(
        name="measure",
        workspace="",
        dataset="",
        backbone=spec.backbone,
        weights=spec.weights,
        strategy=row.name,
        stages=spec.stages,
        image_size=spec.image_size,
        device=spec.device,
        batch_size=spec.batch_size,
        micro_batch=spec.micro_batch,
        precision=spec.precision,
        epochs=row.epochs,
        recipe=row.recipe.changed({"lora_rank": spec.lora_rank}),
    )


def _cases(backbone: Backbone, row: Strategy, train: TrainSpec) -> list[_Case]:
    stages = len(backbone.stages)
    if row.thaws:
        course = phases(row, stages, row.epochs)
        return [_Case(phase.epochs / row.epochs, phase.frozen or 0) for phase in course]
    if row.learns == "one":
        # Which one is found by the pictures: the first, the last and the middle one stand for all.
        tried = sorted({0, stages // 2, stages - 1})
        return [_Case(1 / len(tried), stage, (stage,)) for stage in tried]
    return [_Case(1.0, first_learning(backbone, row, train))]


def _time_case(backbone: Backbone, case: _Case, train: TrainSpec, row: Strategy) -> Generator[Event, None, _Speed]:
    device, size = torch_device(train.device), train.image_size
    spec = train.model_copy(update={"learning_stages": case.learning})
    rows = np.arange(train.batch_size)
    pixels = np.random.default_rng(0).integers(0, 256, (train.batch_size, size, size, 3), dtype=np.uint8)
    fresh = copy.deepcopy(backbone)
    inputs, cached = _inputs(fresh, case.frozen, pixels, spec)
    labels = rows % max(2, fresh.head.out_features if fresh.head else 2)
    trainer = Trainer(fresh, inputs, labels, spec=spec, strategy=row, frozen=case.frozen)
    if row.thaws:
        trainer.thaw(range(case.frozen, len(fresh.stages)), inputs, frozen=case.frozen, warm_up=0)
    seconds: dict[str, list[float]] = {"step": [], "score": []}
    for attempt in range(3):
        begun = time.perf_counter()
        yield from trainer.step(rows, 1.0, draw=[0, 0, attempt], running=Running())
        wait_for(device)
        seconds["step"].append(time.perf_counter() - begun)
    for _ in range(2):
        begun = time.perf_counter()
        yield from trainer.evaluate(rows)
        seconds["score"].append(time.perf_counter() - begun)
    return _Speed(min(seconds["step"][1:]) / len(rows), min(seconds["score"]) / len(rows), cached)


def _inputs(backbone: Backbone, frozen: int, pixels: NDArray[np.uint8], spec: TrainSpec) -> tuple[Inputs, bool]:
    """What the steps read, and whether that is what the frozen stages gave: where it is had sooner than computed again."""
    device, level = torch_device(spec.device), spec.recipe.augmentation
    kept = Inputs.of_activations(_activations(backbone, frozen, pixels), device=device) if frozen else None
    if kept is not None and frozen == len(backbone.stages):
        return kept, True
    backbone.to(device)
    again = Inputs.of_pixels(backbone, pixels, frozen=frozen, device=device, level=level, precision=spec.precision)
    if kept is None:
        return again, False
    rows = np.arange(min(len(pixels), PICTURES))
    cached = batch_seconds(kept, rows, changed=False) < batch_seconds(again, rows, changed=level != "none")
    return (kept if cached else again), cached


def _activations(backbone: Backbone, frozen: int, pixels: NDArray[np.uint8]) -> NDArray[np.float16]:
    """float16 (N, ...): what the first `frozen` stages give; the same noise again and again, which takes the same time."""
    part = backbone.prefix(frozen)
    with torch.inference_mode():
        one = part(backbone.normalise(torch.from_numpy(pixels[:1]))).numpy()
    return np.repeat(np.clip(one, -1e4, 1e4).astype(np.float16), len(pixels), axis=0)


def _frozen(
    spec: MeasureSpec, backbone: Backbone, graph: Export, prefixes: list[int], scratch: Path
) -> tuple[float, list[float]]:
    """Seconds a picture through the whole frozen network, and through the first stages that are kept."""
    stages = len(backbone.stages)
    if spec.device != "cpu":
        return _forward(backbone, stages, spec), [_forward(backbone, k, spec) for k in prefixes if 0 < k < stages]
    return frozen_seconds(graph.graph, spec.image_size), [
        frozen_seconds(graph.cut(k, scratch), spec.image_size) for k in prefixes if 0 < k < stages
    ]


def _forward(backbone: Backbone, frozen: int, spec: MeasureSpec) -> float:
    device = torch_device(spec.device)
    copied = copy.deepcopy(backbone).to(device).eval()
    part = copied.prefix(frozen)
    pixels = np.zeros((GPU_BATCH, spec.image_size, spec.image_size, 3), dtype=np.uint8)

    def work(count: int) -> None:
        with torch.inference_mode():
            part(copied.normalise(torch.from_numpy(pixels[:count]).to(device))).float().cpu()

    count = GPU_BATCH
    while True:
        try:
            return timed(lambda: work(count)) / count  # noqa: B023  timed calls it at once
        except RuntimeError as error:
            if not out_of_memory(error) or count == 1:
                raise
        count //= 2


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _memory_mb(device: torch.device) -> float:
    """Of the device on a GPU, of this process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 1e6 + CONTEXT_MB
    return peak_resident_mb()
