"""How long a run will take and how much memory it needs, said before it starts. No torch, and no pictures.

From what this machine measured (`tl_core.training.speed.measure`) where it did, else from a table (`speeds`); the sum is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tl_core.documents.options import DEFAULT_NETWORK, Recipe
from tl_core.documents.questions import Measurement
from tl_core.errors import GraftError
from tl_core.hardware import cores
from tl_core.models.registry import Network, networks
from tl_core.training.head.logistic import IN_MEMORY
from tl_core.training.speed.expected import expected, forward_seconds
from tl_core.training.strategies.strategies import Strategy, misfit, strategies

__all__ = ["Estimate", "Lighter", "estimate", "fits", "forward_seconds"]

RunDevice = Literal["cpu", "cuda", "mps"]

TRAIN, HELD_OUT = 0.7, 0.15
"""Shares of the images that are learnt from, and that each of the other two splits has."""
ROUGH = (0.6, 1.8)
"""Of the sum, from and to, where it rests on the table."""
MEASURED = (0.75, 1.35)
"""The same where it rests on what was measured."""

_DECODED_A_CORE = 240.0
"""Photos of about a megapixel, decoded and scaled in a second."""
_FIT = 6e-8
"""Seconds of the logistic fit for each training image, feature and class, all penalties of its path together."""
_TORCH = 4.0
"""Seconds for importing it, where only the head's gradient steps need it."""
_ADAM = 2e-9
"""Seconds of a head's gradient step for the same."""
_TRIAL_IMAGES = 48
"""Steps' worth of images that choosing a layout takes, where no measurement did it before."""
_LOOKED_AT = 128
"""Images whose gradient is taken where one stage is chosen."""


@dataclass(frozen=True)
class Kept:
    """What an earlier run left in the cache for this one."""

    pixels: bool
    features: bool


@dataclass(frozen=True)
class Lighter:
    """Another choice that takes less memory."""

    words: str
    """Goes on from "It would fit with "."""
    memory_mb: float


@dataclass(frozen=True)
class Estimate:
    """A range of seconds for the whole run, and its memory."""

    low: float
    high: float
    memory_mb: float | None = None
    """Of the worker's process; on a GPU of the device."""
    measured: bool = False
    """Whether it rests on what this machine measured."""
    lighter: tuple[Lighter, ...] = ()
    """What takes less memory, the smallest change first."""

    def __str__(self) -> str:
        """For the user: "20 to 60 seconds", "2 to 5 minutes"."""
        unit, size = (
            ("seconds", 1.0) if self.high < 90 else ("minutes", 60.0) if self.high < 5400 else ("hours", 3600.0)
        )
        low, high = _rounded(self.low / size), _rounded(self.high / size)
        if low == high:
            return f"about {high} {unit if high != 1 else unit[:-1]}"
        return f"{low} to {high} {unit}"

    @property
    def memory(self) -> str | None:
        """For the user: "about 1.4 GB"; None where it is not known."""
        return None if self.memory_mb is None else f"about {_gigabytes(self.memory_mb)}"


def estimate(
    network: Network,
    strategy: Strategy,
    *,
    images: int,
    image_size: int | None = None,
    device: RunDevice = "cpu",
    stages: int = 2,
    epochs: int | None = None,
    classes: int = 10,
    recipe: Recipe | None = None,
    solver: str = "logistic",
    micro_batch: int = 16,
    precision: str = "float32",
    measured: Measurement | None = None,
    kept: Kept | None = None,
) -> Estimate:
    """Seconds and memory for training `strategy` on `images` pictures in all, of which 70 % are learnt from.

    `image_size` None: the default weights' own; `epochs` and `recipe` None: the strategy's own. With early stopping the
    range begins with the fewest epochs that it can take. `measured`: of the same network, strategy, size and device.
    `kept`: what an earlier run left, which takes no time again.
    """
    size = image_size or network.weights_row().input_size
    table = expected(
        network,
        strategy,
        image_size=size,
        device=device,
        stages=stages,
        classes=classes,
        micro_batch=micro_batch,
        precision=precision,
    )
    used = recipe or strategy.recipe
    passes = strategy.epochs if epochs is None else epochs
    fewest = min(passes, used.patience + 1) if used.patience and strategy.takes_steps else passes

    def seconds(epochs: int) -> float:
        found = _fixed(network, measured or table, images, size)
        found += 0.0 if kept and kept.pixels else images / (_DECODED_A_CORE * cores())
        if strategy.takes_steps:
            trial = 0.0 if measured else _TRIAL_IMAGES * table.step_seconds
            speed = measured or table
            if kept and kept.features:
                # The head's features are there; what frozen stages give may be, too, which nobody looks up here.
                speed = speed.model_copy(update={"frozen_seconds": speed.prefix_seconds})
            judged = 2 * HELD_OUT * images * (measured or table).frozen_seconds if device == "cpu" else 0.0
            return found + trial + judged + _steps(network, strategy, used, speed, images, epochs, classes)
        found += 0.0 if kept and kept.features else images * (measured or table).frozen_seconds
        return found + _head(network, images, classes, epochs if solver == "adam" else 0)

    low, high = MEASURED if measured else ROUGH
    # What a smaller choice takes is known from the table alone; a measurement says how far that is off here.
    off = measured.memory_mb / table.memory_mb if measured else 1.0
    features = _features_mb(network, images, solver) if device == "cpu" else 0.0
    lighter = _lighter(
        network, strategy, size=size, device=device, stages=stages, micro_batch=micro_batch, precision=precision
    )
    return Estimate(
        low=seconds(fewest) * low,
        high=seconds(passes) * high,
        memory_mb=(measured or table).memory_mb + features,
        measured=measured is not None,
        lighter=tuple(replace(one, memory_mb=one.memory_mb * off + features) for one in lighter),
    )


def _features_mb(network: Network, images: int, solver: str) -> float:
    """What the solver holds of the features, which themselves lie on the disk; on a GPU it is not the device's memory."""
    scaled = images * TRAIN * network.embedding_size * 4e-6
    return 2 * scaled if solver == "adam" else min(scaled, IN_MEMORY / 1e6)


def fits(found: Estimate, available_mb: float | None) -> str | None:
    """A warning, with what would fit, where `available_mb` will not do for it; None where it will, or nobody knows."""
    if found.memory_mb is None or available_mb is None or found.memory_mb <= available_mb:
        return None
    wants = f"This needs about {_gigabytes(found.memory_mb)} of memory, and {_gigabytes(available_mb)} are free here."
    better = next((one.words for one in found.lighter if one.memory_mb <= available_mb), None)
    if better is None:
        return f"{wants} Nothing that Graft could choose is small enough: free some memory, or use another machine."
    return f"{wants} It would fit with {better}."


def _fixed(network: Network, speed: Measurement, images: int, size: int) -> float:
    """What every run does once: start, write the classifier, judge."""
    seconds = speed.start_seconds + speed.export_seconds
    if speed.device != "cpu":
        # The finished classifier is judged as it is delivered: by ONNX Runtime on the processor.
        seconds += 2 * HELD_OUT * images * forward_seconds(network, size, "cpu")
    return seconds


def _head(network: Network, images: int, classes: int, epochs: int) -> float:
    """The head on features that are there: a fit, or `epochs` of gradient steps."""
    values = TRAIN * images * network.embedding_size * classes
    return values * epochs * _ADAM + _TORCH if epochs else values * _FIT


def _steps(
    network: Network, strategy: Strategy, recipe: Recipe, speed: Measurement, images: int, epochs: int, classes: int
) -> float:
    """What comes before the steps, and the steps."""
    seconds = images * speed.prefix_seconds
    if strategy.head_start == "fitted":
        # Where a prefix is kept, the rest of the network is run on the way.
        rest = max(0.0, speed.frozen_seconds - speed.prefix_seconds) if not strategy.thaws else speed.frozen_seconds
        seconds += images * rest + TRAIN * images * network.embedding_size * classes * _FIT
    if recipe.augmentation != "none" and speed.prefix_seconds:
        copies = min(recipe.views, max(2, epochs)) - 1
        seconds += copies * TRAIN * images * speed.prefix_seconds
    if strategy.learns == "one":
        seconds += _LOOKED_AT * 1.5 * speed.step_seconds
    return seconds + images * (epochs * (TRAIN * speed.step_seconds + HELD_OUT * speed.score_seconds))


def _lighter(
    network: Network, strategy: Strategy, *, size: int, device: RunDevice, stages: int, micro_batch: int, precision: str
) -> Iterator[Lighter]:
    """Choices that take less memory, the smallest change first."""

    def memory(row: Strategy, *, size: int = size, batch: int = micro_batch, last: int = stages) -> float:
        return expected(
            network, row, image_size=size, device=device, stages=last, micro_batch=batch, precision=precision
        ).memory_mb

    if strategy.takes_steps:
        for batch in (8, 4, 2, 1):
            if batch < micro_batch:
                yield Lighter(f"a batch size of {batch}", memory(strategy, batch=batch))
    for smaller in (round(size * 0.75 / 32) * 32, round(size * 0.5 / 32) * 32):
        if 0 < smaller < size and _takes(network, smaller):
            yield Lighter(f"an image size of {smaller}", memory(strategy, size=smaller))
    for name, last in (("partial_fine_tuning", stages), ("partial_fine_tuning", 1), ("feature_extraction", stages)):
        row = strategies()[name]
        if (row != strategy or last < stages) and misfit(row, network, last) is None:
            many = f" and {last} last stage{'s' * (last > 1)}" if row.learns == "last" else ""
            yield Lighter(f"the strategy {row.title!r}{many}", memory(row, last=last))
    smallest = networks()[DEFAULT_NETWORK]
    if network.backbone_parameters > smallest.backbone_parameters and misfit(strategy, smallest, stages) is None:
        found = expected(
            smallest,
            strategy,
            image_size=smallest.weights_row().input_size,
            device=device,
            stages=stages,
            micro_batch=micro_batch,
            precision=precision,
        )
        yield Lighter(f"the backbone {smallest.name}", found.memory_mb)


def _takes(network: Network, size: int) -> bool:
    try:
        network.check_image_size(size)
    except GraftError:
        return False
    return True


def _rounded(value: float) -> int:
    """To what a person would say: whole numbers up to ten, then fives, then tens."""
    step = 1 if value < 10 else 5 if value < 60 else 10
    return max(1, round(value / step) * step)


def _gigabytes(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes < 10_000 else f"{megabytes / 1000:.0f} GB"
