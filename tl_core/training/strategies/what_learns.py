"""Which parameters of a backbone learn under a strategy, how fast, and by which optimizer. Needs torch.

The optimizer has groups of parameters for the head and for each stage. A new optimizer is a name in `documents.options.Optimizer` and a
row here. Low-rank updates of a transformer's linear layers (LoRA, arXiv 2106.09685), by torch.nn.utils.parametrize, do not change the
output when they are new. Folding adds them to the weights and removes them.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from tl_core.documents.options import Optimizer, Recipe
from tl_core.documents.spec import TrainSpec
from tl_core.models.build import Backbone
from tl_core.table import covering
from tl_core.training.strategies.strategies import Strategy, stage_rates

BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)
"""Norm layers that keep statistics of the batches."""
ALPHA = 4.0
"""Factor of an update, divided by the square root of its rank (arXiv 2312.03732), so that one learning rate suits every rank."""
DIVERGED = (
    "Training diverged in epoch {epoch} (the loss is not a number) and stopped; the best state so far is kept. "
    "A lower learning rate helps."
)

Group = dict[str, Any]
"""One group of an optimizer's parameters, `params`: `peak` is the peak learning rate; `age` counts the group's steps, and the rate rises
in the first `warm_up` of them."""

OPTIMIZERS: Mapping[Optimizer, Callable[[list[Group], Recipe], torch.optim.Optimizer]] = covering(
    "optimizers",
    get_args(Optimizer),
    {
        "adamw": lambda groups, recipe: torch.optim.AdamW(groups, lr=recipe.learning_rate),
        "sgd": lambda groups, recipe: torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum),
    },
)
"""Optimizers by name: a function of the parameter groups, each with its weight decay, and of the recipe."""


def head_groups(backbone: Backbone, spec: TrainSpec) -> list[Group]:
    """The groups of the head, all of which learns."""
    return _groups(backbone, list(backbone.head_parameters()), spec.recipe.learning_rate, spec.recipe)


def stage_groups(
    backbone: Backbone, strategy: Strategy, spec: TrainSpec, stages: Collection[int] | None = None
) -> list[Group]:
    """The groups of the stages that learn, the last stage first; only those of `stages` where it is given.

    Low-rank updates must have been inserted before (`insert_updates`).
    """
    return [
        group
        for stage, rate in reversed(list(enumerate(_rates(backbone, strategy, spec))))
        if rate is not None and (stages is None or stage in stages)
        for group in _groups(backbone, _chosen(backbone, stage, strategy), rate, spec.recipe)
    ]


def learning_stages(backbone: Backbone, strategy: Strategy, spec: TrainSpec) -> tuple[int, ...]:
    """The stages with parameters that learn at some time, from the stem up; low-rank updates need not be inserted."""
    low_rank = strategy.parameters.low_rank
    return tuple(
        stage
        for stage, rate in enumerate(_rates(backbone, strategy, spec))
        if rate is not None
        and (any(_linear(backbone.stages[stage][1])) if low_rank else _chosen(backbone, stage, strategy))
    )


def first_learning(backbone: Backbone, strategy: Strategy, spec: TrainSpec) -> int:
    """How many stages from the stem up never learn: the frozen prefix after all other stages have joined."""
    return min(learning_stages(backbone, strategy, spec), default=len(backbone.stages))


def _rates(backbone: Backbone, strategy: Strategy, spec: TrainSpec) -> tuple[float | None, ...]:
    return stage_rates(strategy, len(backbone.stages), spec.stages, recipe=spec.recipe, learning=spec.learning_stages)


def _chosen(backbone: Backbone, stage: int, strategy: Strategy) -> list[nn.Parameter]:
    learning = {
        id(parameter)
        for name, parameter in backbone.module.named_parameters()
        if strategy.parameters.learns(name, tuple(parameter.shape))
    }
    return [parameter for parameter in backbone.stage_parameters(stage) if id(parameter) in learning]


def _groups(backbone: Backbone, parameters: list[nn.Parameter], rate: float, recipe: Recipe) -> list[Group]:
    """`parameters` in a group with weight decay, which weights of linear layers and convolutions and low-rank updates have, and one without,
    for biases, norms, position embeddings, tokens, scales; an empty group is left out."""
    decaying = {
        id(parameter)
        for name, parameter in backbone.module.named_parameters()
        if parameter.dim() > 1 and name.endswith(("weight", ".0.down", ".0.up"))
    }
    parts = (
        ([parameter for parameter in parameters if id(parameter) in decaying], recipe.weight_decay),
        ([parameter for parameter in parameters if id(parameter) not in decaying], 0.0),
    )
    return [
        {"params": part, "lr": rate, "peak": rate, "weight_decay": decay, "age": 0, "warm_up": 0}
        for part, decay in parts
        if part
    ]


def give_state(of: torch.optim.Optimizer) -> None:
    """Give each parameter that has no state yet that of before its first step, so that its memory is taken now.

    Gradients are removed; no weight changes. Momentum and moments are zeros, as if the optimizer had made them in its first step.
    """
    of.zero_grad(set_to_none=True)
    new = [parameter for group in of.param_groups for parameter in group["params"] if parameter not in of.state]
    if not new:
        return
    rates = [group["lr"] for group in of.param_groups]
    for parameter in new:
        parameter.grad = torch.zeros_like(parameter)
    # A step at rate 0, along no gradient, is what makes the state in every optimizer of torch.
    for group in of.param_groups:
        group["lr"] = 0.0
    of.step()
    for group, rate in zip(of.param_groups, rates, strict=True):
        group["lr"] = rate
    for parameter in new:
        for value in of.state[parameter].values():
            if isinstance(value, torch.Tensor):
                value.zero_()
    of.zero_grad(set_to_none=True)


def take_step(of: torch.optim.Optimizer, recipe: Recipe) -> None:
    """One step along the gradients of the optimizer's parameters, which are clipped first if the recipe says so."""
    if recipe.clip:
        nn.utils.clip_grad_norm_([parameter for group in of.param_groups for parameter in group["params"]], recipe.clip)
    of.step()


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


def insert_updates(backbone: Backbone, rank: int, seed: int) -> None:
    """Add an update of `rank` to every linear layer of the stages; the outputs do not change.

    In a layer with a side smaller than `rank`, the rank is that side.
    """
    generator = torch.Generator().manual_seed(seed)
    for _, stage in backbone.stages:
        for module, name in list(_linear(stage)):
            weight = getattr(module, name)
            parametrize.register_parametrization(module, name, Update(weight, min(rank, *weight.shape), generator))


def fold_updates(backbone: Backbone) -> None:
    """Add the updates to the weights and remove them: the network is the library's own again, with the same output."""
    for module in list(backbone.module.modules()):
        for name in list(_updated(module)):
            parametrize.remove_parametrizations(module, name, leave_parametrized=True)


def folded_tensors(backbone: Backbone) -> dict[str, Tensor]:
    """What `backbone.tensors()` would return after `fold_updates`; the backbone is not changed."""
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


def _linear(stage: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """The linear layers of `stage`, each with the name of its weight."""
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
