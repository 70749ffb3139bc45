"""How long a run will take and how much memory it needs, before it starts. Imports no torch.

The sum rests on the row of the network and on a table of speeds. The table was measured on two cores (2.5 GHz, AVX-512); for GPUs it
holds published figures. Each stage of the sum is scaled by what earlier runs took here (`speed.taken`), or, before the first one, by
how fast the device computed one thing (`runs.process.devices.slowness`).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from tl_core.documents.options import DEFAULT_NETWORK
from tl_core.errors import GraftError
from tl_core.hardware import cores
from tl_core.models import registry
from tl_core.models.families.family import Speed
from tl_core.models.registry import Network
from tl_core.training.head.solver import IN_MEMORY
from tl_core.training.strategies import strategies
from tl_core.training.strategies.schedules import phases
from tl_core.training.strategies.strategies import HEAD_ONLY, LAST_STAGES, Setup, Strategy, frozen_stages, misfit

TRAIN, HELD_OUT = 0.7, 0.15
"""Share of the images in the training split, and in each of the other two splits."""
LOW, HIGH = 0.6, 1.8
"""Factors of the sum, from and to: wider, a range would tell nobody anything."""

_SURELY = 1.5
"""Factor by which a run must be expected to take more memory than it may, before it is refused: an estimate may be too high."""
_DEVICES: Mapping[str, Speed] = MappingProxyType(
    {
        "cuda": Speed(forward=3_000.0, step=1_000.0, late_step=1_000.0),
        "mps": Speed(forward=400.0, step=120.0, late_step=120.0),
    }
)
"""Speed of a whole GPU; that of one core of a processor is a field of the family."""
_MOST_CORES = 8
"""With more cores than these, small batches do not become faster."""
_DECODED_A_CORE = 240.0
"""Photos of about a megapixel that one core decodes and scales per second."""
_FIT = 6e-8
"""Seconds of the logistic fit for each training image, feature and class, with all penalties of its path."""
_HEADS = 5
"""Factor by which cross-validation takes longer than one such fit."""
_START: Mapping[str, float] = MappingProxyType({"cpu": 1.5, "cuda": 12.0, "mps": 10.0})
"""Seconds for starting the worker and importing."""
_TORCH_START = 3.0
"""Further seconds where a run on a CPU needs torch."""
_BACKBONE, _BACKBONE_MILLION = 6.0, 0.03
"""Seconds for importing torch and exporting a pretrained backbone, and further ones for each million of its parameters."""
_SMALL = 1.25
"""A picture smaller than the network's own takes the time of its side to this power, not to the second: a processor is used the less well
the less each layer has to do. Measured on ResNet-18, RegNet, ConvNeXt, DeiT and DenseNet at 64 to 160 pixels."""
_EXPORT = 6.0
"""Seconds for writing the trained network anew."""
_TORCH = 4.0
"""Seconds for importing torch, where only the head's gradient steps need it."""
_ADAM = 2e-9
"""Seconds of the head's gradient steps for each training image, feature, class and epoch."""
_FEWER_LEARN = 0.85
"""Factor of a step's time where few parameters learn: the gradient still passes through every layer."""
_SCORED = 1 / 3
"""Share of a step's time that scoring an image takes."""
_GPU_TOGETHER = 32
"""Images that go through the network together on a GPU for which the memory is said."""
_COMPARED = 16
"""Held-out images that the delivered classifier answers on the processor, too, where a GPU answers all of them."""
_LOOKED_AT = 128
"""Images whose gradient decides which one stage is trained."""
_BASE_MB: Mapping[str, float] = MappingProxyType({"head": 150.0, "steps": 550.0, "gpu": 700.0})
"""Memory of a process that fits a head with ONNX Runtime, of one with torch, and of a GPU's context."""
_EXPORT_MB, _EXPORT_WEIGHTS = 450.0, 5.0
"""Memory of a process that exports a pretrained backbone: with torch, and so many times that of the weights."""
_OUTPUTS_KEPT = 25.0
"""Values that a training step keeps for each value of a stage's output: the outputs of its inner layers."""
_KEPT_A_LAYER = 1.4
"""The same for each matrix product of a stage, in families of matrix products."""


@dataclass(frozen=True)
class Kept:
    """What the cache has for this run already."""

    pixels: bool
    features: bool
    backbone: bool = False
    """The pretrained backbone, exported for this image size."""


@dataclass(frozen=True)
class Estimate:
    """A range of seconds for the whole run, and its peak memory."""

    low: float
    high: float
    memory_mb: float = 0.0
    """Peak memory of the worker, or of the GPU that it trains on."""
    lighter: Mapping[str, float] = field(default_factory=dict)
    """Megabytes of choices that take less memory, the smallest change first, by words that end a sentence which begins "It would fit with "."""
    stages: Mapping[str, float] = field(default_factory=dict)
    """Seconds by stage, named as in `Status.seconds`, with all epochs and before they are scaled."""
    table_mb: float = 0.0
    """The memory before it is scaled."""

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
    def middle(self) -> float:
        """Seconds in the middle of the range."""
        return (self.low + self.high) / 2

    @property
    def memory(self) -> str:
        """The memory in words, such as "about 1.4 GB"."""
        return f"about {_gigabytes(self.memory_mb)}"


def estimate(
    setup: Setup,
    *,
    images: int,
    classes: int,
    kept: Kept,
    factors: Mapping[str, float] = MappingProxyType({}),
    memory_factor: float = 1.0,
) -> Estimate:
    """Seconds and memory of the run of `setup`, whose device is a real one and whose strategy is known, on `images` images in all, 70 % of them for training.

    `kept`: what the cache has already. `factors`, by stage: how many times as long as in the sum it takes here; `memory_factor` the same
    for the memory. All epochs count, also where early stopping may save some.
    """
    spec, stages = setup.spec, _stages(setup, images, classes, kept)
    seconds = sum(factors.get(stage, 1.0) * taken for stage, taken in stages.items())
    # A step of a few pictures keeps the outputs of these only; on a GPU, more go together where they fit, and fewer where they do not.
    most = spec.batch_size if spec.device == "cpu" else min(spec.batch_size, _GPU_TOGETHER)
    at_once = setup.changed(micro_batch=min(spec.micro_batch, most, max(1, math.ceil(TRAIN * images))))

    def memory(asked: Setup) -> float:
        if spec.device != "cpu":
            return memory_mb(asked, classes)
        weights = asked.network.backbone_parameters * 4e-6
        exporting = _EXPORT_MB + _EXPORT_WEIGHTS * weights if "backbone" in stages else 0.0
        return max(exporting, memory_mb(asked, classes) + _features_mb(asked.network, images, spec.solver))

    return Estimate(
        low=seconds * LOW,
        high=seconds * HIGH,
        memory_mb=memory(at_once) * memory_factor,
        lighter={words: memory(smaller) * memory_factor for words, smaller in _lighter(at_once)},
        stages=stages,
        table_mb=memory(at_once),
    )


def forward_seconds(network: Network, image_size: int, device: str) -> float:
    """About how many seconds one image takes through the whole frozen network."""
    return sum(_forward(network, image_size, device))


def memory_mb(setup: Setup, classes: int) -> float:
    """Peak memory of the run's steps, or of its frozen forward pass, in megabytes, without the features."""
    spec, network, strategy = setup.spec, setup.network, setup.strategy
    scale = (spec.image_size / network.weights_row().input_size) ** 2
    weights = network.backbone_parameters * 4e-6
    base = _BASE_MB["gpu" if spec.device != "cpu" else "steps" if strategy.takes_steps else "head"]
    if not strategy.takes_steps:
        largest = max(math.prod(shape) for shape in network.stage_shapes) * 4e-6 * scale
        return base + 2 * weights + 4 * cores() * largest
    frozen = min(frozen for _, frozen in _starts(network, strategy, spec.stages))
    bytes_a_value = 4 if spec.precision == "float32" else 2
    outputs = sum(_kept(network, stage) for stage in range(frozen, len(network.stages))) * scale * bytes_a_value / 1e6
    learning = sum(network.stage_parameters[frozen:]) + network.head_parameters(classes)
    moments = 3 * 4e-6 * (learning / 50 if strategy.parameters.few else learning)
    return base + 3 * weights + moments + min(spec.micro_batch, spec.batch_size) * outputs


def memory_warning(estimate: Estimate, available_mb: float | None) -> str | None:
    """A warning that names a choice that fits where `available_mb` is too little; None where it is enough or not known."""
    if available_mb is None or estimate.memory_mb <= available_mb:
        return None
    free = f"{_gigabytes(available_mb)} are free here"
    return _too_much(estimate, available_mb, free, "free some memory, or use another machine")


def memory_refusal(estimate: Estimate, most_mb: float) -> str | None:
    """Why the run is not started where it is expected to take far more than the `most_mb` that one job may have; else None."""
    if estimate.memory_mb <= _SURELY * most_mb:
        return None
    return _too_much(estimate, most_mb, f"one job may have {_gigabytes(most_mb)} here", "use another machine")


def _too_much(estimate: Estimate, most_mb: float, most: str, otherwise: str) -> str:
    fits = next((words for words, memory_mb in estimate.lighter.items() if memory_mb <= most_mb), None)
    advice = f"It would fit with {fits}" if fits else f"Nothing that Graft could choose is small enough: {otherwise}"
    return f"This needs {estimate.memory} of memory, and {most}. {advice}."


def _stages(setup: Setup, images: int, classes: int, kept: Kept) -> dict[str, float]:
    """Seconds by stage, by the table."""
    spec, network, strategy = setup.spec, setup.network, setup.strategy
    on_cpu = spec.device == "cpu"
    a_picture = forward_seconds(network, spec.image_size, spec.device)
    seconds = {"preparing": _START[spec.device], "export": 0.0, "evaluation": 0.0}
    seconds["preparing"] += 0.0 if kept.pixels else images / (_DECODED_A_CORE * cores())
    # Where stages learn, a GPU computes by torch what the exported backbone computes on a processor.
    if not kept.backbone and (not strategy.takes_steps or (on_cpu and strategy.head_start == "fitted")):
        seconds["backbone"] = _BACKBONE + _BACKBONE_MILLION * network.backbone_parameters / 1e6
    if not strategy.takes_steps:
        seconds["features"] = 0.0 if kept.features else images * a_picture
        seconds["training"] = _head(network, images, classes, spec.epochs if spec.solver == "adam" else 0)
        return seconds
    seconds["preparing"] += _TORCH_START if on_cpu else 0.0
    held_out = HELD_OUT * images
    seconds["export"] = _EXPORT + held_out * a_picture
    seconds["evaluation"] = held_out * a_picture
    if not on_cpu:
        seconds["evaluation"] += min(_COMPARED, 2 * held_out) * forward_seconds(network, spec.image_size, "cpu")
    step, prefix = _step_seconds(setup)
    # Whether the output of the frozen stages is in the cache, as the features may be, is not checked here.
    seconds["features"] = _passes(setup, prefix, prefix if kept.features else a_picture, images)
    seconds["training"] = images * spec.epochs * step * (TRAIN + HELD_OUT * _SCORED)
    if strategy.head_start == "fitted":
        seconds["training"] += TRAIN * images * network.embedding_size * classes * _FIT
    if strategy.learns == "one":
        seconds["training"] += _LOOKED_AT * 1.5 * step
    return seconds


def _head(network: Network, images: int, classes: int, epochs: int) -> float:
    """Seconds for the head alone on features that are there: fits, or `epochs` of gradient steps."""
    values = TRAIN * images * network.embedding_size * classes
    if epochs:
        return values * epochs * _ADAM + _TORCH
    return values * _FIT * (_HEADS if 4 * images * network.embedding_size <= IN_MEMORY else 1)


def _passes(setup: Setup, prefix: float, whole: float, images: int) -> float:
    """Seconds of what frozen stages compute before the steps: `prefix` and `whole` per image through those, and the whole network."""
    spec, strategy = setup.spec, setup.strategy
    seconds = images * prefix
    if strategy.head_start == "fitted":
        # Where the output of a prefix is kept, the rest of the network is computed in the same pass.
        seconds += images * (max(0.0, whole - prefix) if not strategy.thaws else whole)
    if spec.recipe.augmentation != "none":
        seconds += (min(spec.recipe.views, max(2, spec.epochs)) - 1) * TRAIN * images * prefix
    return seconds


def _step_seconds(setup: Setup) -> tuple[float, float]:
    """Seconds per image of a training step, and of the frozen stages before it, whose output is kept."""
    spec, network, strategy = setup.spec, setup.network, setup.strategy
    speed, workers = _speed(network, spec.device), _workers(spec.device)
    forward, scale = _forward(network, spec.image_size, spec.device), _time_scale(network, spec.image_size)
    step = prefix = 0.0
    for share, frozen in _starts(network, strategy, spec.stages):
        rate = (speed.late_step if frozen else speed.step) * workers
        part = scale * sum(network.stage_gflops[frozen:]) / rate
        step += share * part * (_FEWER_LEARN if strategy.parameters.few else 1.0)
        before = sum(forward[:frozen]) if frozen < len(forward) else 0.0
        # Where stages join one by one, each phase has a prefix of its own; where one is chosen, only its prefix is computed.
        prefix += before if strategy.thaws else share * before
    return step, prefix


def _starts(network: Network, strategy: Strategy, stages: int) -> list[tuple[float, int]]:
    """(share of the steps, number of stages that are frozen meanwhile) for each phase, or each stage that may be chosen."""
    total = len(network.stages)
    if strategy.thaws:
        return [
            (phase.epochs / strategy.epochs, phase.frozen or 0) for phase in phases(strategy, total, strategy.epochs)
        ]
    if strategy.learns == "one":
        return [(1 / total, stage) for stage in range(total)]
    return [(1.0, frozen_stages(strategy, total, stages))]


def _features_mb(network: Network, images: int, solver: str) -> float:
    """Memory of the features while the head is fitted, megabytes; the features themselves are files."""
    scaled = images * TRAIN * network.embedding_size * 4e-6
    return 2 * scaled if solver == "adam" else min(scaled, IN_MEMORY / 1e6)


def _kept(network: Network, stage: int) -> float:
    """Values that a training step keeps of one stage, for one image of the default weights' size."""
    shape = network.stage_shapes[stage]
    outputs = math.prod(shape)
    if not network.layout.matrix_products:
        return _OUTPUTS_KEPT * outputs
    # Channels of (K, h, w), (h, w, K) or (T, K); maps are square.
    width = shape[0] if len(shape) == 3 and shape[1] == shape[2] else shape[-1]
    layers = network.stage_gflops[stage] * 1e9 / (outputs * width)
    return outputs * (2 + _KEPT_A_LAYER * layers)


def _lighter(setup: Setup) -> Iterator[tuple[str, Setup]]:
    """Choices that take less memory, the smallest change first, in words."""
    spec, network, strategy, size = setup.spec, setup.network, setup.strategy, setup.spec.image_size
    if strategy.takes_steps:
        for batch in (8, 4, 2, 1):
            if batch < min(spec.micro_batch, spec.batch_size):
                yield f"a batch size of {batch}", setup.changed(micro_batch=batch)
    for smaller in (round(size * 0.75 / 32) * 32, round(size * 0.5 / 32) * 32):
        if 0 < smaller < size and _takes(network, smaller):
            yield f"an image size of {smaller}", setup.changed(image_size=smaller)
    for name, last in ((LAST_STAGES, spec.stages), (LAST_STAGES, 1), (HEAD_ONLY, spec.stages)):
        other = strategies.strategy(name)
        if (other.name != strategy.name or last < spec.stages) and misfit(other, network, last) is None:
            many = f" and {last} last stage{'s' * (last > 1)}" if other.learns == "last" else ""
            yield f"the strategy {other.title!r}{many}", replace(setup.changed(stages=last), row=other)
    smallest = registry.network(DEFAULT_NETWORK)
    if network.backbone_parameters > smallest.backbone_parameters and misfit(strategy, smallest, spec.stages) is None:
        of_its_size = setup.changed(image_size=smallest.weights_row().input_size)
        yield f"the backbone {smallest.name}", replace(of_its_size, network=smallest)


def _takes(network: Network, size: int) -> bool:
    try:
        network.check_image_size(size)
    except GraftError:
        return False
    return True


def _forward(network: Network, image_size: int, device: str) -> list[float]:
    """Seconds of one image in each stage of the frozen network."""
    rate = _speed(network, device).forward * _workers(device)
    return [_time_scale(network, image_size) * part / rate for part in network.stage_gflops]


def _time_scale(network: Network, image_size: int) -> float:
    """How many times as long a picture of `image_size` takes as one of the network's own size."""
    side = image_size / network.weights_row().input_size
    return float(max(side**2, side**_SMALL))


def _speed(network: Network, device: str) -> Speed:
    return _DEVICES.get(device, network.layout.core_speed)


def _workers(device: str) -> int:
    return min(cores(), _MOST_CORES) if device == "cpu" else 1


def _rounded(value: float) -> int:
    """Rounded as in speech: whole numbers up to ten, then fives, then tens."""
    step = 1 if value < 10 else 5 if value < 60 else 10
    return max(1, round(value / step) * step)


def _gigabytes(megabytes: float) -> str:
    return f"{megabytes / 1000:.1f} GB" if megabytes < 10_000 else f"{megabytes / 1000:.0f} GB"
