"""When what learns, and how fast: the course of the learning rate, and the phases in which stages join. Knows no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tl_core.documents.options import Recipe
from tl_core.training.strategies.strategies import Strategy

LOWEST = 0.01
"""Factor of the learning rate at the end of the cosine."""
MOST_PHASES = 5
"""More would leave each of them no epoch of its own."""


def schedule(steps: int, recipe: Recipe | None = None) -> Iterator[float]:
    """Factors of the learning rate: a linear rise, then the recipe's shape: half a cosine down to almost nothing, or flat."""
    used = recipe or Recipe()
    warm_up = warm_up_steps(steps, used)
    for step in range(steps):
        if step < warm_up:
            yield (step + 1) / (warm_up + 1)
        elif used.schedule == "constant":
            yield 1.0
        else:
            yield max(LOWEST, (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up))) / 2)


def warm_up_steps(steps: int, recipe: Recipe) -> int:
    """Of `steps`, those in which the rate rises: at least one, where it rises at all."""
    return max(1, round(recipe.warm_up * steps)) if recipe.warm_up else 0


@dataclass(frozen=True)
class Phase:
    """Some epochs in which the same stages learn."""

    first: int
    """Epoch, from 1."""
    epochs: int
    joining: tuple[int, ...]
    """Stages that learn from here on, besides the head and those before."""
    frozen: int | None
    """How many stages from the stem on still wait; None: as the strategy has it from the start."""


def phases(strategy: Strategy, stages: int, epochs: int) -> tuple[Phase, ...]:
    """The run in phases: one where nothing joins; else the head alone for an epoch, then the stages from the last down.

    The stages are spread evenly over at most `MOST_PHASES` phases with the head's, the remaining epochs likewise, the later
    phases taking what is left over. With a single epoch there is no time for the head alone.
    """
    if not strategy.thaws:
        return (Phase(1, epochs, (), None),)
    alone = 1 if epochs > 1 else 0
    count = max(1, min(stages, epochs - alone, MOST_PHASES - 1))
    found = [Phase(1, alone, (), stages)] if alone else []
    first, waiting = 1 + alone, stages
    for phase in range(count):
        # Fewer stages first: the last ones change most and deserve a phase of their own.
        joining = (stages + phase) // count
        length = (epochs - alone + phase) // count
        found.append(Phase(first, length, tuple(range(waiting - joining, waiting)), waiting - joining))
        first, waiting = first + length, waiting - joining
    return tuple(found)
