"""How long a run will take and how much memory it needs, before it starts. Imports no torch.

The sum rests on what this machine measured (`speed.measure`), else on a table of speeds (`speed.expected`). Each of its stages is
scaled by what earlier runs took here (`speed.learned`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from tl_core.documents.options import DEFAULT_NETWORK
from tl_core.documents.spec import TrainSpec
from tl_core.documents.tasks import Measurement, MeasureSpec
from tl_core.errors import GraftError
from tl_core.hardware import cores
from tl_core.models import registry
from tl_core.models.registry import Network
from tl_core.training.head.solver import IN_MEMORY
from tl_core.training.speed.expected import expected, forward_seconds
from tl_core.training.strategies import strategies
from tl_core.training.strategies.strategies import HEAD_ONLY, LAST_STAGES, Strategy, misfit

TRAIN, HELD_OUT = 0.7, 0.15
"""Share of the images in the training split, and in each of the other two splits."""
ROUGH = (0.6, 1.8)
"""Factors of the sum, from and to, where it rests on the table."""
MEASURED = (0.75, 1.35)
"""Factors of the sum, from and to, where it rests on a measurement."""

_SURELY = 1.5
"""Factor by which a run must be expected to take more memory than it may, before it is refused: an estimate may be too high."""
_DECODED_A_CORE = 240.0
"""Photos of about a megapixel that one core decodes and scales per second."""
_FIT = 6e-8
"""Seconds of the logistic fit for each training image, feature and class, with all penalties of its path."""
_HEADS = 5
"""Factor by which cross-validation takes longer than one such fit."""
_BACKBONE, _BACKBONE_MILLION = 6.0, 0.03
"""Seconds for importing torch and exporting a pretrained backbone, and further ones for each million of its parameters."""
_TORCH = 4.0
"""Seconds for importing torch, where only the head's gradient steps need it."""
_ADAM = 2e-9
"""Seconds of the head's gradient steps for each training image, feature, class and epoch."""
_LAYOUT_IMAGES = 48
"""Images in the steps that choose a memory layout, where no measurement chose it before."""
_GPU_TOGETHER = 32
"""Images that go through the network together on a GPU for which the memory is said."""
_COMPARED = 16
"""Held-out images that the delivered classifier answers on the processor, too, where a GPU answers all of them."""
_LOOKED_AT = 128
"""Images whose gradient decides which one stage is trained."""


@dataclass(frozen=True)
class Kept:
    """What the cache has for this run already."""

    pixels: bool
    features: bool
    backbone: Literal["no", "soon", "yes"] = "no"
    """The pretrained backbone, exported for this image size; "soon": some process exports it just now."""


@dataclass(frozen=True)
class Lighter:
    """Another choice that takes less memory."""

    words: str
    """The choice, as the end of a sentence that begins "It would fit with "."""
    memory_mb: float


@dataclass(frozen=True)
class Estimate:
    """A range of seconds for the whole run, and its peak memory."""

    low: float
    high: float
    memory_mb: float | None = None
    """Peak memory of the worker, or of the GPU that it trains on."""
    measured: bool = False
    """Whether the estimate rests on a measurement of this machine."""
    lighter: tuple[Lighter, ...] = ()
    """Choices that take less memory, the smallest change first."""
    stages: Mapping[str, float] = field(default_factory=dict)
    """Seconds by stage, named as in `Status.seconds`, with all epochs and before they are scaled by what earlier runs took."""

    def __str__(self) -> str:
        """The time in words, such as "20 to 60 seconds" or "2 to 5 minutes"."""
        unit, size = (
            ("seconds", 1.0) if self.high < 90 else ("minutes", 60.0) if self.high < 5400 else ("hours", 3600.0)
        )
        low, high = _rounded(self.low / size), _rounded(self.high / size)
        if low == high:
            return f"about {high} {unit if high != 1 else unit[:-1]}"
        return f"{low} to {high} {unit}"

    @property
    def memory(self) -> str | None:
        """The memory in words, such as "about 1.4 GB"; None where it is not known."""
        return None if self.memory_mb is None else f"about {_gigabytes(self.memory_mb)}"


def estimate(
    spec: TrainSpec,
    asked: MeasureSpec,
    *,
    images: int,
    measured: Measurement | None,
    kept: Kept,
    factors: Mapping[str, float] = MappingProxyType({}),
) -> Estimate:
    """Seconds and memory of the run of `spec` on `images` images in all, 70 % of them for training.

    `asked` is what this machine is asked to measure for the run, `measured` its answer where there is one, and `kept` what the
    cache has already. `factors`, by stage: how many times as long as in the sum it takes here, as `learned.factors` finds. With early stopping the range begins with the smallest possible number of epochs.

    Raises:
        UnknownName: there is no such network or strategy.
    """
    network, strategy = registry.network(spec.backbone), strategies.strategy(spec.strategy)
    table = expected(asked)
    speed = measured or table
    # A step of a few pictures keeps the outputs of these only; on a GPU, more go together where they fit, and fewer where they do not.
    train_images = max(1, math.ceil(TRAIN * images))
    most = asked.batch_size if asked.device == "cpu" else min(asked.batch_size, _GPU_TOGETHER)
    at_once = asked.model_copy(update={"micro_batch": min(asked.micro_batch, most, train_images)})
    patience = spec.recipe.patience if strategy.takes_steps else 0
    fewest = min(spec.epochs, patience + 1) if patience else spec.epochs

    on_cpu = asked.device == "cpu"
    # Where stages learn, a GPU computes by torch what the exported backbone computes on a processor.
    reads_backbone = not strategy.takes_steps or (on_cpu and strategy.head_start == "fitted")
    exported = _BACKBONE + _BACKBONE_MILLION * network.backbone_parameters / 1e6
    waits = factors.get("backbone", 1.0) * exported if kept.backbone == "soon" and reads_backbone else 0.0

    def stages(epochs: int) -> dict[str, float]:
        found = {"preparing": speed.start_seconds, "export": speed.export_seconds, "evaluation": 0.0}
        found["preparing"] += 0.0 if kept.pixels else images / (_DECODED_A_CORE * cores())
        if kept.backbone == "no" and reads_backbone:
            found["backbone"] = exported
        if not strategy.takes_steps:
            found["features"] = 0.0 if kept.features else images * speed.frozen_seconds
            found["training"] = _head(network, images, asked.classes, epochs if spec.solver == "adam" else 0)
            return found
        found["preparing"] += 0.0 if measured else _LAYOUT_IMAGES * table.step_seconds
        held_out = HELD_OUT * images
        found["export"] += held_out * speed.frozen_seconds
        found["evaluation"] += held_out * speed.frozen_seconds
        if not on_cpu:
            found["evaluation"] += min(_COMPARED, 2 * held_out) * forward_seconds(network, spec.image_size, "cpu")
        # Whether the output of the frozen stages is in the cache, as the features may be, is not checked here.
        whole = speed.prefix_seconds if kept.features else speed.frozen_seconds
        found["features"] = _passes(strategy, spec, speed, whole, images, epochs)
        found["training"] = _steps(network, strategy, speed, images, epochs, asked.classes)
        return found

    def seconds(epochs: int) -> float:
        return sum(factors.get(stage, 1.0) * found for stage, found in stages(epochs).items())

    low, high = MEASURED if measured else ROUGH
    # Memory of another choice is known from the table alone; a measurement shows by which factor the table is wrong here.
    off = measured.memory_mb / table.memory_mb if measured else 1.0
    features = _features_mb(network, images, spec.solver) if asked.device == "cpu" else 0.0
    return Estimate(
        low=seconds(fewest) * low,
        high=(seconds(spec.epochs) + waits) * high,
        memory_mb=expected(at_once).memory_mb * off + features,
        measured=measured is not None,
        stages=stages(spec.epochs),
        lighter=tuple(
            Lighter(words, expected(smaller).memory_mb * off + features) for words, smaller in _lighter(at_once)
        ),
    )


def _features_mb(network: Network, images: int, solver: str) -> float:
    """Memory of the features while the head is fitted, megabytes; the features themselves are files."""
    scaled = images * TRAIN * network.embedding_size * 4e-6
    return 2 * scaled if solver == "adam" else min(scaled, IN_MEMORY / 1e6)


def memory_warning(found: Estimate, available_mb: float | None) -> str | None:
    """A warning that names a choice that fits where `available_mb` is too little; None where it is enough or not known."""
    if found.memory_mb is None or available_mb is None or found.memory_mb <= available_mb:
        return None
    return f"{_needs(found.memory_mb)}, and {_gigabytes(available_mb)} are free here. {_fitting(found, available_mb, 'free some memory, or use another machine')}"


def memory_refusal(found: Estimate, most_mb: float) -> str | None:
    """Why the run is not started where it is expected to take far more than the `most_mb` that one job may have; else None."""
    if found.memory_mb is None or found.memory_mb <= _SURELY * most_mb:
        return None
    return f"{_needs(found.memory_mb)}, and one job may have {_gigabytes(most_mb)} here. {_fitting(found, most_mb, 'use another machine')}"


def _needs(memory_mb: float) -> str:
    return f"This needs about {_gigabytes(memory_mb)} of memory"


def _fitting(found: Estimate, most_mb: float, otherwise: str) -> str:
    better = next((one.words for one in found.lighter if one.memory_mb <= most_mb), None)
    if better is None:
        return f"Nothing that Graft could choose is small enough: {otherwise}."
    return f"It would fit with {better}."


def _head(network: Network, images: int, classes: int, epochs: int) -> float:
    """Seconds for the head alone on features that are there: fits, or `epochs` of gradient steps."""
    values = TRAIN * images * network.embedding_size * classes
    if epochs:
        return values * epochs * _ADAM + _TORCH
    return values * _FIT * (_HEADS if 4 * images * network.embedding_size <= IN_MEMORY else 1)


def _passes(
    strategy: Strategy, spec: TrainSpec, speed: Measurement, frozen_seconds: float, images: int, epochs: int
) -> float:
    """Seconds of what frozen stages compute before the steps; `frozen_seconds` per image through the frozen network."""
    seconds = images * speed.prefix_seconds
    if strategy.head_start == "fitted":
        # Where the output of a prefix is kept, the rest of the network is computed in the same pass.
        seconds += images * (max(0.0, frozen_seconds - speed.prefix_seconds) if not strategy.thaws else frozen_seconds)
    if spec.recipe.augmentation != "none" and speed.prefix_seconds:
        copies = min(spec.recipe.views, max(2, epochs)) - 1
        seconds += copies * TRAIN * images * speed.prefix_seconds
    return seconds


def _steps(network: Network, strategy: Strategy, speed: Measurement, images: int, epochs: int, classes: int) -> float:
    """Seconds of the steps, and of the fit and the look at gradients that come before them."""
    seconds = images * (epochs * (TRAIN * speed.step_seconds + HELD_OUT * speed.score_seconds))
    if strategy.head_start == "fitted":
        seconds += TRAIN * images * network.embedding_size * classes * _FIT
    if strategy.learns == "one":
        seconds += _LOOKED_AT * 1.5 * speed.step_seconds
    return seconds


def _lighter(asked: MeasureSpec) -> Iterator[tuple[str, MeasureSpec]]:
    """Choices that take less memory, the smallest change first: each in words, and what to ask for it."""
    network, strategy = registry.network(asked.backbone), strategies.strategy(asked.strategy)
    size = asked.image_size
    if strategy.takes_steps:
        for batch in (8, 4, 2, 1):
            if batch < min(asked.micro_batch, asked.batch_size):
                yield f"a batch size of {batch}", asked.model_copy(update={"micro_batch": batch})
    for smaller in (round(size * 0.75 / 32) * 32, round(size * 0.5 / 32) * 32):
        if 0 < smaller < size and _takes(network, smaller):
            yield f"an image size of {smaller}", asked.model_copy(update={"image_size": smaller})
    for name, last in ((LAST_STAGES, asked.stages), (LAST_STAGES, 1), (HEAD_ONLY, asked.stages)):
        other = strategies.strategy(name)
        if (other != strategy or last < asked.stages) and misfit(other, network, last) is None:
            many = f" and {last} last stage{'s' * (last > 1)}" if other.learns == "last" else ""
            yield f"the strategy {other.title!r}{many}", asked.model_copy(update={"strategy": name, "stages": last})
    smallest = registry.network(DEFAULT_NETWORK)
    if network.backbone_parameters > smallest.backbone_parameters and misfit(strategy, smallest, asked.stages) is None:
        own = {"backbone": smallest.name, "image_size": smallest.weights_row().input_size}
        yield f"the backbone {smallest.name}", asked.model_copy(update=own)


def _takes(network: Network, size: int) -> bool:
    try:
        network.check_image_size(size)
    except GraftError:
        return False
    return True


def _rounded(value: float) -> int:
    """Rounded as in speech: whole numbers up to ten, then fives, then tens."""
    step = 1 if value < 10 else 5 if value < 60 else 10
    return max(1, round(value / step) * step)


def _gigabytes(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes < 10_000 else f"{megabytes / 1000:.0f} GB"
