"""The names of what learns under a strategy, from tables and from the shapes of a network's parameters. Imports no torch.

`what_learns` says the same of a network that was built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import get_args

from tl_core.models.families.family import held
from tl_core.models.registry import Network
from tl_core.table import covering
from tl_core.training.strategies.strategies import Parameters, Strategy, stage_rates

Shape = tuple[int, ...]


def learning_paths(network: Network, strategy: Strategy, stages: int) -> list[str]:
    """Paths of the library's modules, and of parameters outside them, that may learn, from the stem up, the head last.

    `stages`: how many last ones, where the strategy asks. Modules without parameters are among them.
    """
    rates = stage_rates(strategy, len(network.stages), stages)
    learning = [stage for stage, rate in zip(network.layout.stages, rates, strict=True) if rate is not None]
    tail = network.layout.tail if rates[-1] is not None and strategy.parameters != "lora" else ()
    paths = [*(path for stage in learning for path in stage.modules), *tail]
    return [*(own for path in paths for own in held(path)), network.head]


def learning_parameters(
    network: Network, strategy: Strategy, stages: int, shapes: Mapping[str, Shape], *, classes: int, rank: int
) -> dict[str, Shape]:
    """Names and shapes of the parameters that may learn, in the library's network with a head for `classes` classes.

    `shapes` are those of all parameters without the head; `rank` is that of low-rank updates (LoRA).
    """
    *paths, head = learning_paths(network, strategy, stages)
    found: dict[str, Shape] = {}
    for path in paths:
        for name, shape in shapes.items():
            if name == path or name.startswith(f"{path}."):
                found |= _LEARNS[strategy.parameters](name, shape, rank)
    return {**found, f"{head}.weight": (classes, network.embedding_size), f"{head}.bias": (classes,)}


def _all(name: str, shape: Shape, rank: int) -> Iterator[tuple[str, Shape]]:
    yield name, shape


def _bias_and_norm(name: str, shape: Shape, rank: int) -> Iterator[tuple[str, Shape]]:
    # Of weights, only those of norm layers have one dimension.
    if name.endswith("bias") or (name.endswith("weight") and len(shape) == 1):
        yield name, shape


def _low_rank(name: str, shape: Shape, rank: int) -> Iterator[tuple[str, Shape]]:
    # Of weights, only those of linear layers have two dimensions.
    if name.endswith("weight") and len(shape) == 2:
        module, _, own = name.rpartition(".")
        used = min(rank, *shape)
        yield f"{module}.parametrizations.{own}.0.down", (used, shape[1])
        yield f"{module}.parametrizations.{own}.0.up", (shape[0], used)


_LEARNS: Mapping[Parameters, Callable[[str, Shape, int], Iterator[tuple[str, Shape]]]] = covering(
    "parameters that learn", get_args(Parameters), {"all": _all, "bias_and_norm": _bias_and_norm, "lora": _low_rank}
)
"""What learns of one parameter of a stage that learns: itself, nothing, or the two matrices of its low-rank update."""
