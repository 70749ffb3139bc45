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


def take_step(of: torch.optim.Optimizer, recipe: Recipe) -> None:
    """One step along the gradients of the optimizer's parameters, which are clipped first if the recipe says so."""
    if recipe.clip:
        torch.nn.utils.clip_grad_norm_([one for group in of.param_groups for one in group["params"]], recipe.clip)
    of.step()
