"""Training steps of one network and strategy on noise: how long they take and how much memory they need. Needs torch.

Each phase of the strategy, or each stage that it may choose, is timed with steps of the training loop.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from tl_core.data.cache import Cache
from tl_core.documents.events import Event
from tl_core.documents.spec import TrainSpec
from tl_core.documents.tasks import Measurement, MeasureSpec
from tl_core.errors import memory_ran_out
from tl_core.hardware import peak_resident_mb
from tl_core.models.build import Backbone, build
from tl_core.models.graphs.edit import cut, stage_name
from tl_core.models.registry import Network
from tl_core.training.frozen.keeping import PICTURES, batch_seconds
from tl_core.training.loop.inputs import Inputs, torch_device, wait_for
from tl_core.training.loop.steps import Running, Trainer
from tl_core.training.speed.graph_times import export_cost, exported_graph, frozen_seconds
from tl_core.training.speed.memory_layout import channels_last_is_faster
from tl_core.training.strategies.schedules import phases
from tl_core.training.strategies.strategies import Strategy
from tl_core.training.strategies.what_learns import count, first_learning
from tl_core.training.timing import timed

TIMED_AT_ONCE = 128
"""Images in a timed forward pass on a device; halved until they fit its memory."""
CONTEXT_MB = 500.0
"""Memory of a GPU that CUDA itself takes, megabytes."""


@dataclass(frozen=True)
class _Case:
    """One way in which the strategy's steps may be taken."""

    share: float
    """Share of all steps."""
    frozen: int
    learning: tuple[int, ...] | None = None
    """The stages that learn; None: what the strategy says."""


@dataclass(frozen=True)
class _Speed:
    step: float
    """Seconds per image in a training step."""
    score: float
    """Seconds per image that is scored."""
    cached: bool
    """Whether the output of the frozen stages would be kept."""


def measure_steps(
    asked: MeasureSpec, network: Network, strategy: Strategy, cache: Cache, scratch: Path
) -> Generator[Event, None, Measurement]:
    """Time the steps of `strategy` on `network`; files go to `scratch`. Raises as `measure.measure`."""
    device = torch_device(asked.device)
    begun = time.perf_counter()
    _import_library(network)
    backbone = build(network, weights=None, classes=asked.classes, like=asked.weights)
    start = time.perf_counter() - begun
    _forget_peak(device)
    spec = _train_spec(asked, strategy)
    cases = _cases(backbone, strategy, spec)
    # A run chooses its layout once, for what learns in the end.
    layout = channels_last_is_faster(backbone, spec, frozen=cases[-1].frozen, cache=cache)
    spec = spec.model_copy(update={"channels_last": layout})
    speeds: list[_Speed] = []
    for case in cases:
        speeds.append((yield from _time_case(backbone, case, spec, strategy)))
    memory = _memory_mb(device)
    kept = [case.frozen for case, speed in zip(cases, speeds, strict=True) if speed.cached]
    prefixes = [frozen for frozen in kept if 0 < frozen < len(backbone.stages)]
    graph = yield from exported_graph(asked, network, cache, scratch)
    whole, parts = _frozen(asked, backbone, graph, prefixes, scratch)
    export = export_cost(asked, network, cache, scratch)
    learning = [spec.model_copy(update={"learning_stages": case.learning}) for case in cases]
    return Measurement(
        backbone=network.name,
        strategy=strategy.name,
        device=asked.device,
        frozen_seconds=whole,
        # Where stages join one by one, each phase has a prefix of its own; where one is chosen, only its prefix is computed.
        prefix_seconds=sum(parts) if strategy.thaws else sum(parts) / len(cases),
        step_seconds=sum(case.share * speed.step for case, speed in zip(cases, speeds, strict=True)),
        score_seconds=sum(case.share * speed.score for case, speed in zip(cases, speeds, strict=True)),
        start_seconds=start,
        export_seconds=export.seconds,
        memory_mb=memory if device.type == "cuda" else max(memory, export.memory_mb),
        peak_parameters=max(count(backbone, strategy, one)[0] for one in learning),
    )


def frozen_on_device(asked: MeasureSpec, network: Network) -> tuple[float, float]:
    """Seconds per image through the whole frozen network by torch on the device, and its memory in megabytes."""
    device = torch_device(asked.device)
    _forget_peak(device)
    backbone = build(network, weights=None, classes=None, like=asked.weights)
    seconds = _forward(backbone, len(backbone.stages), asked)
    return seconds, _memory_mb(device)


def _import_library(network: Network) -> None:
    if network.source == "timm":
        import timm  # noqa: F401
    else:
        import torchvision  # noqa: F401


def _train_spec(asked: MeasureSpec, strategy: Strategy) -> TrainSpec:
    same = asked.model_dump(
        include={
            "backbone",
            "weights",
            "strategy",
            "stages",
            "image_size",
            "device",
            "batch_size",
            "micro_batch",
            "precision",
        }
    )
    recipe = strategy.recipe.changed({"lora_rank": asked.lora_rank})
    return TrainSpec(name="measure", workspace="", dataset="", epochs=strategy.epochs, recipe=recipe, **same)


def _cases(backbone: Backbone, strategy: Strategy, spec: TrainSpec) -> list[_Case]:
    stages = len(backbone.stages)
    if strategy.thaws:
        course = phases(strategy, stages, strategy.epochs)
        return [_Case(phase.epochs / strategy.epochs, phase.frozen or 0) for phase in course]
    if strategy.learns == "one":
        # The images decide which stage: the first, the last and the middle one stand for all.
        tried = sorted({0, stages // 2, stages - 1})
        return [_Case(1 / len(tried), stage, (stage,)) for stage in tried]
    return [_Case(1.0, first_learning(backbone, strategy, spec))]


def _time_case(backbone: Backbone, case: _Case, train: TrainSpec, strategy: Strategy) -> Generator[Event, None, _Speed]:
    device, size = torch_device(train.device), train.image_size
    spec = train.model_copy(update={"learning_stages": case.learning})
    rows = np.arange(train.batch_size)
    pixels = np.random.default_rng(0).integers(0, 256, (train.batch_size, size, size, 3), dtype=np.uint8)
    fresh = copy.deepcopy(backbone)
    inputs, cached = _inputs(fresh, case.frozen, pixels, spec)
    labels = rows % max(2, fresh.head.out_features if fresh.head else 2)
    trainer = Trainer(fresh, inputs, labels, spec=spec, strategy=strategy, frozen=case.frozen)
    if strategy.thaws:
        trainer.thaw(range(case.frozen, len(fresh.stages)), inputs, frozen=case.frozen, warm_up=0)
    events: list[Event] = []

    def step() -> None:
        events.extend(trainer.step(rows, 1.0, draw=[0, 0, 0], running=Running()))
        wait_for(device)

    speed = _Speed(timed(step) / len(rows), timed(lambda: events.extend(trainer.evaluate(rows))) / len(rows), cached)
    yield from events
    return speed


def _inputs(backbone: Backbone, frozen: int, pixels: NDArray[np.uint8], spec: TrainSpec) -> tuple[Inputs, bool]:
    """What the steps read, and whether that is the kept output of the frozen stages: it is where reading is faster."""
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
    """float16 (N, ...): the output of the first `frozen` stages for one image, repeated, which takes the same time."""
    part = backbone.prefix(frozen)
    with torch.inference_mode():
        one = part(backbone.normalise(torch.from_numpy(pixels[:1]))).numpy()
    return np.repeat(np.clip(one, -1e4, 1e4).astype(np.float16), len(pixels), axis=0)


def _frozen(
    asked: MeasureSpec, backbone: Backbone, graph: Path, prefixes: list[int], scratch: Path
) -> tuple[float, list[float]]:
    """Seconds per image through the whole frozen network, and through each prefix of so many stages."""
    if asked.device != "cpu":
        whole = _forward(backbone, len(backbone.stages), asked)
        return whole, [_forward(backbone, frozen, asked) for frozen in prefixes]
    parts = []
    for frozen in prefixes:
        cut(graph, [stage_name(frozen - 1)], scratch / "prefix.onnx")
        parts.append(frozen_seconds(scratch / "prefix.onnx", asked.image_size))
    return frozen_seconds(graph, asked.image_size), parts


def _forward(backbone: Backbone, frozen: int, asked: MeasureSpec) -> float:
    device = torch_device(asked.device)
    copied = copy.deepcopy(backbone).to(device).eval()
    part = copied.prefix(frozen)
    pixels = np.zeros((TIMED_AT_ONCE, asked.image_size, asked.image_size, 3), dtype=np.uint8)

    def work(count: int) -> None:
        with torch.inference_mode():
            part(copied.normalise(torch.from_numpy(pixels[:count]).to(device))).float().cpu()

    count = TIMED_AT_ONCE
    while True:
        try:
            return timed(lambda: work(count)) / count  # noqa: B023  timed calls it at once
        except RuntimeError as error:
            if not memory_ran_out(error) or count == 1:
                raise
        count //= 2


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def _memory_mb(device: torch.device) -> float:
    """Peak memory in megabytes: that of a GPU, or of this process on other devices."""
    if device.type == "cuda":
        return torch.cuda.max_memory_reserved(device) / 1e6 + CONTEXT_MB
    return peak_resident_mb()
