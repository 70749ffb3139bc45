"""A learning rate from the pictures themselves: the range test (Smith, arXiv 1506.01186). Needs torch.

Takes steps with a rate that rises by the same factor each time, and looks where the loss falls fastest and where it goes
astray. What it was given has learned by then and is to be thrown away. Knows no validation split and no files.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator

import numpy as np
from numpy.typing import NDArray

from tl_core.data.pace import Pace
from tl_core.documents.events import Event
from tl_core.documents.questions import RateCurve
from tl_core.documents.spec import TrainSpec
from tl_core.errors import ModelError
from tl_core.training.loop.steps import Running, Trainer

MOST_STEPS = 100
FEWEST_STEPS = 60
EPOCHS = 3
"""Passes over the training pictures after which the test ends early: with few pictures, the loss falls by heart."""
LOWEST = 1e-6
HIGHEST = 3.0
"""Rates of the head that are tried, from and to; most tests end long before."""
ASTRAY = 4.0
"""Times the best smoothed loss at which the test stops."""
FLOOR = 0.25
"""Loss below which a rise means nothing: a fitted head starts near zero."""
WIDTH = 3.0
"""Steps: the standard deviation of the window that smooths the curve, to both sides, so that it does not lag."""
FALL = 0.2
"""Share of the first loss (or of `FLOOR`) that it must lose to count as falling."""
BELOW_LOWEST = 10.0
"""How far below the lowest loss's rate, at least, the suggestion stays."""
BELOW_RISE = 3.0
"""How far below the first rise it stays where the loss does not fall."""


def find_rate(
    trainer: Trainer,
    train_rows: NDArray[np.integer],
    spec: TrainSpec,
    steps: int = MOST_STEPS,
) -> Generator[Event, None, RateCurve]:
    """Train with rising rates until the loss goes astray; the curve, with a suggestion for the head's rate.

    `spec` is that with which `trainer` was made: the rates of the stages keep their proportion to the head's. At most `steps`
    steps are taken, fewer where there are few `train_rows`. The same arguments give the same curve.

    Raises:
        DeviceError: not even one picture fits the device's memory.
        ModelError: the loss is no number from the start.
        ValueError: no training rows.
    """
    if len(train_rows) == 0:
        raise ValueError("There must be training rows.")
    an_epoch = math.ceil(len(train_rows) / spec.batch_size)
    count = min(steps, max(FEWEST_STEPS, EPOCHS * an_epoch))
    factor = (HIGHEST / LOWEST) ** (1 / max(1, count - 1))
    pace = Pace("training", count)
    rates: list[float] = []
    losses: list[float] = []
    followed, best = 0.0, math.inf
    order: Iterator[NDArray[np.integer]] = iter(())
    for step in range(count):
        rows = next(order, None)
        if rows is None:
            shuffled = np.random.default_rng([spec.seed, step]).permutation(train_rows)
            order = iter(np.array_split(shuffled, an_epoch))
            rows = next(order)
        rate, running = LOWEST * factor**step, Running()
        yield from trainer.step(rows, rate / spec.recipe.learning_rate, draw=[spec.seed, 0, step], running=running)
        if not math.isfinite(running.loss):
            break
        rates.append(rate)
        losses.append(running.loss)
        followed = 0.8 * followed + 0.2 * running.loss
        now = followed / (1 - 0.8 ** (step + 1))
        best = min(best, now)
        event = pace.at(step + 1)
        if event is not None:
            yield event
        if now > ASTRAY * max(best, FLOOR):
            break
    if len(rates) < 2:
        raise ModelError("The loss is no number even at the lowest learning rate; choose another backbone.")
    smooth = smoothed(losses)
    return RateCurve(rates=tuple(rates), losses=tuple(smooth), suggested=suggestion(rates, smooth))


def smoothed(losses: list[float]) -> list[float]:
    """Each loss as the mean of those around it, the nearer the heavier."""
    values, places = np.asarray(losses), np.arange(len(losses))
    weights = np.exp(-0.5 * ((places[:, None] - places) / WIDTH) ** 2)
    return [float(value) for value in weights @ values / weights.sum(axis=1)]


def suggestion(rates: list[float], losses: list[float]) -> float:
    """The rate at which the smoothed loss falls fastest, no more than a tenth of the one at which it is lowest.

    Where it does not fall (a fitted head knows the pictures already), a third of the rate from which on it rises.
    """
    values, exponents = np.asarray(losses), np.log(np.asarray(rates))
    first, lowest = max(float(values[0]), FLOOR), int(np.argmin(values))
    if values[0] - values[lowest] < FALL * first:
        calm = np.flatnonzero(values <= values[0] + 0.05 * first)
        return float(max(rates[0], rates[int(calm[-1])] / BELOW_RISE))
    slope = np.gradient(values, exponents)[: lowest + 1]
    return float(max(rates[0], min(rates[int(np.argmin(slope))], rates[lowest] / BELOW_LOWEST)))
