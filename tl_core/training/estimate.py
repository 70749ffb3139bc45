"""How long a run will take, roughly, as a range in seconds, before anything is computed. No torch.

From the network's row and speeds measured on two cores (2.5 GHz, AVX-512) and, for GPUs, published ones. A factor of two either
way is common: other work on the machine, an older processor. Knows no pictures.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from tl_core.data.pace import cores
from tl_core.models.registry import Network
from tl_core.training.strategies import Strategy, frozen_stages

RunDevice = Literal["cpu", "cuda", "mps"]


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Billions of multiply-adds a second, counted as the network's row counts them."""

    forward: float
    """A frozen forward pass: ONNX Runtime on a CPU (a core), torch elsewhere (the device)."""
    step: float
    """Forward and backward pass of a training step through the whole network; only forward multiply-adds are counted."""
    late_step: float
    """The same where the first stages are frozen: on small maps there is less to move for each multiply-add."""


_CORE: MappingProxyType[str, Speed] = MappingProxyType(
    {
        "efficientnet_lite": Speed(forward=40.0, step=3.7, late_step=15.0),
        "mobilenet_v3_large": Speed(forward=30.0, step=3.0, late_step=10.0),
        "resnet": Speed(forward=85.0, step=23.0, late_step=23.0),
        "convnext": Speed(forward=53.0, step=15.0, late_step=15.0),
    }
)
"""By family, on one core. Depthwise convolutions move more bytes than they compute, so families differ tenfold."""
_OTHER_CORE = Speed(forward=50.0, step=8.0, late_step=12.0)
_DEVICES: MappingProxyType[str, Speed] = MappingProxyType(
    {
        "cuda": Speed(forward=3_000.0, step=1_000.0, late_step=1_000.0),
        "mps": Speed(forward=400.0, step=120.0, late_step=120.0),
    }
)
_MOST_CORES = 8
"""Beyond these, small batches no longer get faster."""
_START = MappingProxyType({"cpu": 4.0, "cuda": 12.0, "mps": 10.0})
"""Seconds for starting the worker and importing, fitting and exporting."""
_EXPORT_STEPS = 10.0
"""Seconds more where the trained network has to be written anew, torch imported and a layout chosen."""
_DECODED_A_CORE = 180.0
"""Photos of about a megapixel, decoded and scaled in a second."""


_EAGER = 5.0
"""How much longer torch takes on a CPU, operation by operation, than ONNX Runtime, where convolutions are depthwise."""
_READ = 1e9
"""Bytes a second that come back from a memory-mapped file."""


@dataclass(frozen=True)
class Estimate:
    """A range of seconds for the whole run."""

    low: float
    high: float

    def __str__(self) -> str:
        """For the user: "20 to 60 seconds", "2 to 5 minutes"."""
        unit, size = (
            ("seconds", 1.0) if self.high < 90 else ("minutes", 60.0) if self.high < 5400 else ("hours", 3600.0)
        )
        low, high = _rounded(self.low / size), _rounded(self.high / size)
        if low == high:
            return f"about {high} {unit if high != 1 else unit[:-1]}"
        return f"{low} to {high} {unit}"


def estimate(
    network: Network,
    strategy: Strategy,
    *,
    images: int,
    image_size: int | None = None,
    device: RunDevice = "cpu",
    stages: int = 2,
    epochs: int | None = None,
) -> Estimate:
    """Seconds for training `strategy` on `images` pictures in all, of which 70 % are learnt from.

    `image_size` None: the default weights' own; `epochs` None: the strategy's own.
    """
    size = network.weights_row().input_size
    scale = ((image_size or size) / size) ** 2
    frozen = frozen_stages(strategy, len(network.stages), stages)
    prefix, suffix = (scale * sum(part) for part in (network.stage_gflops[:frozen], network.stage_gflops[frozen:]))
    speed, workers = _speed(network, device), min(cores(), _MOST_CORES) if device == "cpu" else 1
    seconds = _START[device] + images / (_DECODED_A_CORE * cores())
    # Features of the whole backbone once: for the fitted head, and to judge with.
    seconds += images * scale * sum(network.stage_gflops) / (speed.forward * workers)
    if strategy.takes_steps:
        passes = strategy.epochs if epochs is None else epochs
        seconds += _EXPORT_STEPS + images * prefix / (speed.forward * workers)
        step = speed.late_step if frozen else speed.step
        seconds += passes * images * suffix * (0.7 / step + 0.15 / (3 * step)) / workers
    return Estimate(low=seconds * 0.6, high=seconds * 1.8)


def reading_is_cheaper(network: Network, *, frozen: int, image_size: int, bytes_an_image: int, device: str) -> bool:
    """Whether the first `frozen` stages' output is read back sooner than torch computes it again, for one image."""
    scale = (image_size / network.weights_row().input_size) ** 2
    seconds = scale * sum(network.stage_gflops[:frozen]) / _speed(network, device).forward
    if device == "cpu":
        seconds *= _EAGER / min(cores(), _MOST_CORES)
    return bytes_an_image / _READ < seconds


def _speed(network: Network, device: str) -> Speed:
    return _DEVICES.get(device) or _CORE.get(network.family, _OTHER_CORE)


def _rounded(value: float) -> int:
    """To what a person would say: whole numbers up to ten, then fives, then tens."""
    step = 1 if value < 10 else 5 if value < 60 else 10
    return max(1, round(value / step) * step)
