"""The schedule of the learning rate, and the phases in which stages join training. No torch."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

from tl_core.documents.options import Recipe, Schedule
from tl_core.table import covering
from tl_core.training.strategies.strategies import Strategy

LOWEST = 0.01
"""Smallest factor of the learning rate in the cosine schedule."""
MOST_PHASES = 5
"""Largest number of phases in which stages join."""


def _cosine(step: int, steps: int) -> float:
    return max(LOWEST, (1 + math.cos(math.pi * step / max(1, steps))) / 2)


SCHEDULES: Mapping[Schedule, Callable[[int, int], float]] = covering(
    "schedules", get_args(Schedule), {"cosine": _cosine, "constant": lambda step, steps: 1.0}
)
"""Schedules by name: a function of the number of a step after the warm-up, from 0, and of how many such steps there are, that gives
the factor of the learning rate. A new schedule is a name in `documents.options.Schedule` and a row here."""


def schedule(steps: int, recipe: Recipe) -> Iterator[float]:
    """The factor of the learning rate in each of `steps` steps: a linear warm-up, then the recipe's schedule."""
    warm_up = warm_up_steps(steps, recipe)
    for step in range(steps):
        if step < warm_up:
            yield (step + 1) / (warm_up + 1)
        else:
            yield SCHEDULES[recipe.schedule](step - warm_up, steps - warm_up)


def warm_up_steps(steps: int, recipe: Recipe) -> int:
    """How many of `steps` steps the warm-up takes: at least one, where the recipe has a warm-up."""
    return max(1, round(recipe.warm_up * steps)) if recipe.warm_up else 0


@dataclass(frozen=True)
class Phase:
    """Consecutive epochs in which the same stages learn."""

    first: int
    """Number of its first epoch, counted from 1."""
    epochs: int
    joining: tuple[int, ...]
    """Stages that learn from this phase on, besides the head and the stages of earlier phases."""
    frozen: int | None
    """How many stages from the stem up are still frozen; None: as many as at the start of training."""


def phases(strategy: Strategy, stages: int, epochs: int) -> tuple[Phase, ...]:
    """The phases of a run of `epochs` epochs: a single one, or the head alone for an epoch and then the stages from the last down.

    Stages and epochs are spread evenly over at most `MOST_PHASES` phases, that of the head included; what is left over goes to
    the later phases. With a single epoch there is no phase of the head alone.
    """
    if not strategy.thaws:
        return (Phase(1, epochs, (), None),)
    alone = 1 if epochs > 1 else 0
    count = max(1, min(stages, epochs - alone, MOST_PHASES - 1))
    in_order = [Phase(1, alone, (), stages)] if alone else []
    first, waiting = 1 + alone, stages
    for phase in range(count):
        # Fewer stages first, so that the last ones, which change most, have a phase to themselves.
        joining = (stages + phase) // count
        length = (epochs - alone + phase) // count
        in_order.append(Phase(first, length, tuple(range(waiting - joining, waiting)), waiting - joining))
        first, waiting = first + length, waiting - joining
    return tuple(in_order)
