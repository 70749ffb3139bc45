"""Which parameters of a backbone learn under a strategy, how fast, and by which optimizer. Needs torch.

There is a group of parameters for the head and for each stage. A new optimizer is a name in `documents.options.Optimizer` and a row here.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import nn

from tl_core.documents.options import Optimizer, Recipe
from tl_core.documents.spec import TrainSpec
from tl_core.models.build import Backbone
from tl_core.table import covering
from tl_core.training.strategies import lora
from tl_core.training.strategies.strategies import Strategy, stage_rates

BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)
"""Norm layers that keep statistics of the batches."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Parameters that learn at one rate: the head, or those of one stage."""

    stage: int | None
    """Number of the stage from the stem up; None: the head."""
    rate: float
    """Peak learning rate."""
    decaying: tuple[nn.Parameter, ...]
    """Parameters with weight decay: weights of linear layers and convolutions, low-rank updates."""
    steady: tuple[nn.Parameter, ...]
    """Parameters without weight decay: biases, norms, position embeddings, tokens, scales."""

    @property
    def parameters(self) -> tuple[nn.Parameter, ...]:
        return (*self.decaying, *self.steady)


def head_group(backbone: Backbone, spec: TrainSpec) -> Group:
    """The group of the head, all of which learns."""
    return _group(backbone, None, spec.recipe.learning_rate, list(backbone.head_parameters()))


def stage_groups(
    backbone: Backbone, strategy: Strategy, spec: TrainSpec, stages: Collection[int] | None = None
) -> tuple[Group, ...]:
    """The groups of the stages that learn, the last stage first; only those of `stages` where it is given.

    A stage without parameters that the strategy trains has no group. Low-rank updates must have been inserted before
    (`lora.insert`).
    """
    rates = stage_rates(strategy, len(backbone.stages), spec.stages, recipe=spec.recipe, learning=spec.learning_stages)
    groups = [
        _group(backbone, stage, rate, _chosen(backbone, stage, strategy))
        for stage, rate in reversed(list(enumerate(rates)))
        if rate is not None and (stages is None or stage in stages)
    ]
    return tuple(group for group in groups if group.parameters)


def learning_stages(backbone: Backbone, strategy: Strategy, spec: TrainSpec) -> tuple[int, ...]:
    """The stages with parameters that learn at some time, from the stem up; low-rank updates need not be inserted."""
    rates = stage_rates(strategy, len(backbone.stages), spec.stages, recipe=spec.recipe, learning=spec.learning_stages)
    return tuple(
        stage
        for stage, rate in enumerate(rates)
        if rate is not None
        and (lora.fits(backbone, stage) if strategy.parameters.low_rank else _chosen(backbone, stage, strategy))
    )


def first_learning(backbone: Backbone, strategy: Strategy, spec: TrainSpec) -> int:
    """How many stages from the stem up never learn: the frozen prefix after all other stages have joined."""
    return min(learning_stages(backbone, strategy, spec), default=len(backbone.stages))


def count(backbone: Backbone, strategy: Strategy, spec: TrainSpec) -> tuple[int, int]:
    """How many parameters learn at some time, and how many the network has; low-rank updates count in the first number only."""
    head = sum(parameter.numel() for parameter in backbone.head_parameters())
    # Auxiliary heads, which are not used, are in no stage.
    stages = range(len(backbone.stages))
    total = head + sum(parameter.numel() for stage in stages for parameter in backbone.stage_parameters(stage))
    if strategy.parameters.low_rank:
        return head + lora.size(backbone, spec.recipe.lora_rank), total
    groups = stage_groups(backbone, strategy, spec)
    return head + sum(parameter.numel() for group in groups for parameter in group.parameters), total


def optimizer_parts(group: Group, recipe: Recipe) -> list[dict[str, Any]]:
    """Parameter groups of the optimizer, with and without weight decay.

    `peak` is the peak learning rate; `age` counts the group's steps, and the rate rises in the first `warm_up` of them.
    """
    parts = ((group.decaying, recipe.weight_decay), (group.steady, 0.0))
    return [
        {"params": list(chosen), "lr": group.rate, "peak": group.rate, "weight_decay": decay, "age": 0, "warm_up": 0}
        for chosen, decay in parts
        if chosen
    ]


def _chosen(backbone: Backbone, stage: int, strategy: Strategy) -> list[nn.Parameter]:
    learning = {
        id(parameter)
        for name, parameter in backbone.module.named_parameters()
        if strategy.parameters.learns(name, tuple(parameter.shape))
    }
    return [parameter for parameter in backbone.stage_parameters(stage) if id(parameter) in learning]


def _group(backbone: Backbone, stage: int | None, rate: float, parameters: list[nn.Parameter]) -> Group:
    decaying = {
        id(parameter)
        for name, parameter in backbone.module.named_parameters()
        if parameter.dim() > 1 and name.endswith(("weight", ".0.down", ".0.up"))
    }
    return Group(
        stage=stage,
        rate=rate,
        decaying=tuple(parameter for parameter in parameters if id(parameter) in decaying),
        steady=tuple(parameter for parameter in parameters if id(parameter) not in decaying),
    )


OPTIMIZERS: Mapping[Optimizer, Callable[[list[dict[str, Any]], Recipe], torch.optim.Optimizer]] = covering(
    "optimizers",
    get_args(Optimizer),
    {
        "adamw": lambda groups, recipe: torch.optim.AdamW(groups, lr=recipe.learning_rate),
        "sgd": lambda groups, recipe: torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=recipe.momentum),
    },
)
"""Optimizers by name: a function of the parameter groups, each with its weight decay, and of the recipe."""

DIVERGED = (
    "Training diverged in epoch {epoch} (the loss is not a number) and stopped; the best state so far is kept. "
    "A lower learning rate helps."
)


def optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimizer of `groups` of parameters."""
    return OPTIMIZERS[recipe.optimizer](groups, recipe)


def give_state(of: torch.optim.Optimizer) -> None:
    """Give each parameter that has no state yet that of before its first step, so that its memory is taken now.

    Gradients are removed; no weight changes. Momentum and moments are zeros, as if the optimizer had made them in its first step.
    """
    of.zero_grad(set_to_none=True)
    new = [one for group in of.param_groups for one in group["params"] if one not in of.state]
    rates = [group["lr"] for group in of.param_groups]
    for one in new:
        one.grad = torch.zeros_like(one)
    # A step at rate 0, along no gradient, is what makes the state in every optimizer of torch.
    for group in of.param_groups:
        group["lr"] = 0.0
    of.step()
    for group, rate in zip(of.param_groups, rates, strict=True):
        group["lr"] = rate
    for one in new:
        for value in of.state[one].values():
            if isinstance(value, torch.Tensor):
                value.zero_()
    of.zero_grad(set_to_none=True)


def take_step(of: torch.optim.Optimizer, recipe: Recipe) -> None:
    """One step along the gradients of the optimizer's parameters, which are clipped first if the recipe says so."""
    if recipe.clip:
        torch.nn.utils.clip_grad_norm_([one for group in of.param_groups for one in group["params"]], recipe.clip)
    of.step()
