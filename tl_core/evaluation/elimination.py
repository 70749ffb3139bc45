"""When a contestant of a race can no longer win, and which one is trained next."""

import math
from collections.abc import Mapping
from typing import TypeVar

from tl_core.evaluation.intervals import wilson_interval

JUDGED_FROM = 0.5
"""Share of its epochs that a contestant has trained before it can be stopped. Nothing is extrapolated from the first ones: a new head
and a warm-up start low, and say little about the end."""
TOO_LONG = 2.0
"""A contestant is not begun where it is expected to take more than so many times what is left of the time."""

_Name = TypeVar("_Name")


def out_of_reach(best: float, leader: float, draws: float) -> bool:
    """Whether an accuracy of `best` lies below one of `leader` by more than chance explains, both fractions of the same pictures.

    It does where the upper end of the 95 % interval (Wilson 1927) of `best` is below the lower end of that of `leader`. `draws`: how many
    of the pictures show different things. Intervals that do not touch ask for more than a test of the difference at 5 % does: where
    both vary alike, for about 0.6 %. That leaves room for one look after each epoch.
    """
    return interval(best, draws)[1] < interval(leader, draws)[0]


def interval(accuracy: float, draws: float) -> tuple[float, float]:
    """95 % interval (Wilson 1927) of an `accuracy`, a fraction of pictures of which `draws` show different things."""
    return wilson_interval(accuracy * draws, draws)


def judged_from(epochs: int, last_phase: int = 1) -> int:
    """The first epoch after which a contestant of so many `epochs` may be stopped.

    It is the one that ends the share `JUDGED_FROM`, and where stages join one by one not before the first epoch of the last phase,
    whose number is `last_phase`: until then, not all that is to learn has learned.
    """
    return max(1, math.ceil(JUDGED_FROM * epochs), last_phase)


def next_one(expected: Mapping[_Name, float | None], left: float, *, all_may: bool) -> _Name | None:
    """Which of the contestants that wait is begun with `left` seconds to go; None where none is.

    It is the one that is `expected` to take the fewest seconds; of equals the first, and those of which nothing is known come
    last. One that would take more than `TOO_LONG` times what is left is not begun, unless `all_may`.
    """
    if left <= 0 or not expected:
        return None
    name, seconds = min(expected.items(), key=lambda one: math.inf if one[1] is None else one[1])
    return name if all_may or seconds is None or seconds <= TOO_LONG * left else None
