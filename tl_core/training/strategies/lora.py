"""Low-rank updates of a transformer's linear layers (LoRA, arXiv 2106.09685), by torch.nn.utils.parametrize.

New updates do not change the output. Folding adds them to the weights and removes them.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tl_core.models.build import Backbone

ALPHA = 4.0
"""Factor of an update, divided by the square root of its rank (arXiv 2312.03732), so that one learning rate suits every rank."""


class Update(nn.Module):
    """The parametrization weight + strength * up @ down of a weight (out, in)."""

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator) -> None:
        super().__init__()
        rows, columns = weight.shape
        limit = math.sqrt(3 / columns)
        down = (torch.rand(rank, columns, generator=generator) * 2 - 1) * limit
        self.down = nn.Parameter(down.to(weight.device))
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))
        self.strength = ALPHA / math.sqrt(rank)

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.strength * (self.up @ self.down)


def insert(backbone: Backbone, rank: int, seed: int) -> None:
    """Add an update of `rank` to every linear layer of the stages; the outputs do not change.

    In a layer with a side smaller than `rank`, the rank is that side.
    """
    generator = torch.Generator().manual_seed(seed)
    for module, name in list(_weights(backbone)):
        weight = getattr(module, name)
        parametrize.register_parametrization(module, name, Update(weight, min(rank, *weight.shape), generator))


def fold(backbone: Backbone) -> None:
    """Add the updates to the weights and remove them: the network is the library's own again, with the same output."""
    for module in list(backbone.module.modules()):
        for name in list(_updated(module)):
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def folded(backbone: Backbone) -> dict[str, Tensor]:
    """What `backbone.tensors()` would return after `fold`; the backbone is not changed."""
    tensors = backbone.tensors()
    for path, module in backbone.module.named_modules():
        prefix = f"{path}." if path else ""
        for name in _updated(module):
            with torch.no_grad():
                weight = getattr(module, name).detach().cpu().contiguous()
            inner = f"{prefix}parametrizations.{name}."
            tensors = {key: value for key, value in tensors.items() if not key.startswith(inner)}
            tensors[f"{prefix}{name}"] = weight
    return tensors


def parameters(backbone: Backbone) -> set[int]:
    """The `id`s of the parameters of all updates."""
    return {id(p) for module in backbone.module.modules() if isinstance(module, Update) for p in module.parameters()}


def size(backbone: Backbone, rank: int) -> int:
    """How many parameters updates of `rank` have, whether they were inserted or not."""
    shapes = [getattr(module, name).shape for module, name in _weights(backbone)]
    return sum(min(rank, rows, columns) * (rows + columns) for rows, columns in shapes)


def fits(backbone: Backbone, stage: int) -> bool:
    """Whether stage number `stage` has a linear layer."""
    return any(True for _ in _weights_of(backbone.stages[stage][1]))


def _weights(backbone: Backbone) -> Iterator[tuple[nn.Module, str]]:
    for _, stage in backbone.stages:
        yield from _weights_of(stage)


def _weights_of(stage: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    for module in stage.modules():
        if isinstance(module, nn.Linear):
            yield module, "weight"
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            yield module, "in_proj_weight"


def _updated(module: nn.Module) -> Iterator[str]:
    if parametrize.is_parametrized(module):
        for name, chain in module.parametrizations.items():  # type: ignore[union-attr, operator]
            if any(isinstance(part, Update) for part in chain):
                yield name
