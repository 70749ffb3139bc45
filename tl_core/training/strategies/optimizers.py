"""The table of optimizers, and a step of one. Needs torch.

A new optimizer is a name in `documents.options.Optimizer` and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, get_args

import torch

from tl_core.documents.options import Optimizer, Recipe
from tl_core.table import covering

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
