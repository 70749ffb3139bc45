"""Speed and memory that a run is expected to have before anything was measured: from its network's row and a table of speeds.

The table was measured on two cores (2.5 GHz, AVX-512); for GPUs it holds published figures. Real machines differ from it by a
factor of up to two: other work on the machine, an older processor. The steps of efficientnet_lite lie between two such machines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType

from tl_core.documents.tasks import Measurement, MeasureSpec
from tl_core.hardware import cores
from tl_core.models import registry
from tl_core.models.registry import Network
from tl_core.training.frozen.onnx_runtime import BATCH
from tl_core.training.strategies import strategies
from tl_core.training.strategies.schedules import phases
from tl_core.training.strategies.strategies import Strategy, frozen_stages


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Billions of multiply-adds per second, counted as in the network's row."""

    forward: float
    """Speed of a frozen forward pass: in ONNX Runtime on one core of a CPU, in torch on another device."""
    step: float
    """Speed of a training step, forward and backward, through the whole network; only forward multiply-adds are counted."""
    late_step: float
    """Speed of a training step where the first stages are frozen: small maps need fewer bytes for each multiply-add."""


_DEPTHWISE = Speed(forward=35.0, step=3.5, late_step=12.0)
_MATRICES = Speed(forward=50.0, step=15.0, late_step=15.0)
_CORE: MappingProxyType[str, Speed] = MappingProxyType(
    {
        "efficientnet_lite": Speed(forward=40.0, step=5.0, late_step=12.0),
        "mobilenet_v3": Speed(forward=30.0, step=3.0, late_step=10.0),
        "resnet": Speed(forward=85.0, step=23.0, late_step=23.0),
        "convnext": Speed(forward=53.0, step=15.0, late_step=15.0),
        **dict.fromkeys(("efficientnet", "mobilenet_v2", "mobilenet_v4", "mnasnet", "shufflenet_v2"), _DEPTHWISE),
    }
)
"""Speed on one core by published architecture. Depthwise convolutions move many bytes for little work, so it differs tenfold."""
_OTHER_CORE = Speed(forward=50.0, step=8.0, late_step=12.0)
_DEVICES: MappingProxyType[str, Speed] = MappingProxyType(
    {
        "cuda": Speed(forward=3_000.0, step=1_000.0, late_step=1_000.0),
        "mps": Speed(forward=400.0, step=120.0, late_step=120.0),
    }
)
_MOST_CORES = 8
"""With more cores than these, small batches do not become faster."""
_START = MappingProxyType({"cpu": 1.5, "cuda": 12.0, "mps": 10.0})
"""Seconds for starting the worker and importing."""
_TORCH_START = 3.0
"""Further seconds where a run on a CPU needs torch."""
_EXPORT = 8.0
"""Seconds for writing the trained network anew, and for a choice of layout."""
_FEWER_LEARN = 0.85
"""Factor of a step's time where few parameters learn: the gradient still passes through every layer."""

_BASE_MB = MappingProxyType({"head": 450.0, "steps": 900.0, "gpu": 700.0})
"""Memory of a process that fits a head with ONNX Runtime, of one with torch, and of a GPU's context."""
_OUTPUTS_KEPT = 25.0
"""Values that a training step keeps for each value of a stage's output: the outputs of its inner layers."""
_KEPT_A_LAYER = 1.4
"""The same for each matrix product of a stage, in families of matrix products."""


def expected(asked: MeasureSpec) -> Measurement:
    """About what `measure` would find.

    Raises:
        UnknownName: there is no such network or strategy.
    """
    network, strategy, device = registry.network(asked.backbone), strategies.strategy(asked.strategy), asked.device
    scale = _scale(network, asked.image_size)
    speed, workers = _speed(network, device), _workers(device)
    forward = [scale * part / (speed.forward * workers) for part in network.stage_gflops]
    starts = _starts(network, strategy, asked.stages) if strategy.takes_steps else []
    step = prefix = 0.0
    for share, frozen in starts:
        rate = (speed.late_step if frozen else speed.step) * workers
        part = scale * sum(network.stage_gflops[frozen:]) / rate
        step += share * part * (_FEWER_LEARN if strategy.parameters != "all" else 1.0)
        kept = sum(forward[:frozen]) if frozen < len(forward) else 0.0
        prefix += kept if strategy.thaws else share * kept
    with_torch = _TORCH_START if strategy.takes_steps and device == "cpu" else 0.0
    return Measurement(
        backbone=network.name,
        strategy=strategy.name,
        device=device,
        frozen_seconds=sum(forward),
        prefix_seconds=prefix,
        step_seconds=step,
        score_seconds=step / 3,
        start_seconds=_START[device] + with_torch,
        export_seconds=_EXPORT if strategy.takes_steps else 0.0,
        memory_mb=_memory_mb(asked, network, strategy, min((frozen for _, frozen in starts), default=0)),
    )


def forward_seconds(network: Network, image_size: int, device: str) -> float:
    """About how many seconds one image takes through the whole frozen network."""
    scale = _scale(network, image_size)
    return scale * sum(network.stage_gflops) / (_speed(network, device).forward * _workers(device))


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


def _memory_mb(asked: MeasureSpec, network: Network, strategy: Strategy, frozen: int) -> float:
    """Peak memory in megabytes, with at least `frozen` stages frozen at any time."""
    scale = _scale(network, asked.image_size)
    weights = network.backbone_parameters * 4e-6
    base = _BASE_MB["gpu" if asked.device != "cpu" else "steps" if strategy.takes_steps else "head"]
    if not strategy.takes_steps:
        largest = max(math.prod(shape) for shape in network.stage_shapes) * 4e-6 * scale
        return base + 2 * weights + 4 * BATCH * largest
    bytes_a_value = 4 if asked.precision == "float32" else 2
    kept = sum(_kept(network, stage) for stage in range(frozen, len(network.stages))) * scale * bytes_a_value / 1e6
    learning = sum(network.stage_parameters[frozen:]) + network.head_parameters(asked.classes)
    moments = 3 * 4e-6 * (learning if strategy.parameters == "all" else learning / 50)
    return base + 3 * weights + moments + min(asked.micro_batch, asked.batch_size) * kept


def _kept(network: Network, stage: int) -> float:
    """Values that a training step keeps of one stage, for one image of the default weights' size."""
    shape = network.stage_shapes[stage]
    given = math.prod(shape)
    if not network.layout.matrix_products:
        return _OUTPUTS_KEPT * given
    # Channels of (K, h, w), (h, w, K) or (T, K); maps are square.
    width = shape[0] if len(shape) == 3 and shape[1] == shape[2] else shape[-1]
    layers = network.stage_gflops[stage] * 1e9 / (given * width)
    return given * (2 + _KEPT_A_LAYER * layers)


def _scale(network: Network, image_size: int) -> float:
    return float((image_size / network.weights_row().input_size) ** 2)


def _speed(network: Network, device: str) -> Speed:
    if device in _DEVICES:
        return _DEVICES[device]
    other = _MATRICES if network.layout.matrix_products else _OTHER_CORE
    return _CORE.get(network.layout.published, other)


def _workers(device: str) -> int:
    return min(cores(), _MOST_CORES) if device == "cpu" else 1
