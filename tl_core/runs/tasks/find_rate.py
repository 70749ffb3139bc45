"""Finds a learning rate for a run by the range test (Smith, arXiv 1506.01186). Needs torch.

Steps are taken with a learning rate that rises by the same factor each time, and the loss shows where it falls fastest and where it
diverges. The network is trained by that, so it is not used afterwards. What frozen stages compute stays in the cache, where the run finds it.
"""

import math
from collections.abc import Generator, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from tl_core.data.pace import Pace
from tl_core.disk import remove
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.spec import TrainSpec
from tl_core.documents.tasks import FindRateSpec, RateCurve
from tl_core.errors import ModelError
from tl_core.runs.store.folders import RunFolder, TaskFolder
from tl_core.runs.train.fine_tune import built, prepared
from tl_core.runs.train.plan import Plan, prepare
from tl_core.training.head.fitted import class_weights
from tl_core.training.loop.fit import HeadAlone
from tl_core.training.loop.steps import Running, Trainer

MOST_STEPS = 100
FEWEST_STEPS = 60
EPOCHS = 3
"""Passes over the training images after which the test ends: with more, the loss falls because images are memorised."""
LOWEST = 1e-6
HIGHEST = 3.0
"""Lowest and highest learning rate of the head that are tried; most tests end before the highest."""
DIVERGES = 4.0
"""The test ends when the loss is so many times the best smoothed loss."""
FLOOR = 0.25
"""Losses below this count as this, since a fitted head starts near zero."""
WIDTH = 3.0
"""Standard deviation, in steps, of the symmetric window that smooths the curve."""
FALL = 0.2
"""Share of the first loss (or of `FLOOR`) by which the loss must fall to count as falling."""
BELOW_LOWEST = 10.0
"""The suggestion is the rate of the lowest loss divided by this, or less."""
BELOW_RISE = 3.0
"""Where the loss does not fall, the suggestion is the last rate before it rises for good, divided by this, or the lowest rate."""


def answer(task: TaskFolder) -> Generator[Event, None, RateCurve]:
    """The range test of a run, which exists as a folder for as long as the test takes.

    Raises:
        WeightsUnavailable, DownloadFailed: the pretrained weights cannot be had.
        DeviceError: not even one picture fits the device's memory.
        ModelError: the loss is no number from the start.
        DiskFull: no space is left.
    """
    run = RunFolder(task.path / "run")
    run.write_spec(task.spec_as(FindRateSpec).train)
    plan = Plan(run)
    pixels = yield from prepare(plan)
    train = plan.rows("train")
    if plan.strategy.takes_steps:
        backbone = yield from built(plan)
        frozen, inputs = yield from prepared(plan, backbone, pixels)
    else:
        yield StageStarted(stage="features", title="Looking at every picture once")
        features = yield from plan.features(pixels)
        alone = HeadAlone(plan.network, features, train, classes=len(plan.classes), device=plan.spec.device)
        backbone, frozen, inputs = alone.backbone, 0, alone.inputs
    spec = plan.spec
    torch.manual_seed(spec.seed)
    trainer = Trainer(
        backbone,
        inputs,
        plan.labels,
        spec=spec,
        strategy=plan.strategy,
        frozen=frozen,
        class_weights=class_weights(plan.labels[train]) if spec.recipe.class_weights else None,
    )
    yield StageStarted(stage="training", title="Trying learning rates")
    curve = yield from range_test(trainer, train, spec)
    remove(run.path)
    return curve


def range_test(trainer: Trainer, train_rows: NDArray[np.integer], spec: TrainSpec) -> Generator[Event, None, RateCurve]:
    """Train with rising rates until the loss diverges; the curve, with a suggestion for the head's learning rate.

    `spec` is that with which `trainer` was made: the rates of the stages keep their proportion to the head's. At most `MOST_STEPS`
    steps are taken, fewer where there are few `train_rows`. The same arguments give the same curve.

    Raises:
        DeviceError: not even one picture fits the device's memory.
        ModelError: the loss is not finite from the start.
    """
    an_epoch = math.ceil(len(train_rows) / spec.batch_size)
    count = min(MOST_STEPS, max(FEWEST_STEPS, EPOCHS * an_epoch))
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
        yield from pace.at(step + 1)
        if now > DIVERGES * max(best, FLOOR):
            break
    if len(rates) < 2:
        raise ModelError("The loss is no number even at the lowest learning rate; choose another backbone.")
    smooth = smoothed(losses)
    return RateCurve(rates=tuple(rates), losses=tuple(smooth), suggested=suggestion(rates, smooth))


def smoothed(losses: list[float]) -> list[float]:
    """Each loss as the weighted mean of those around it."""
    values, places = np.asarray(losses), np.arange(len(losses))
    weights = np.exp(-0.5 * ((places[:, None] - places) / WIDTH) ** 2)
    return [float(value) for value in weights @ values / weights.sum(axis=1)]


def suggestion(rates: list[float], losses: list[float]) -> float:
    """The rate at which the smoothed loss falls fastest, but at most a tenth of the rate at which it is lowest.

    Where the loss does not fall, since a fitted head is right on the images already, a third of the last rate before it rises for good.
    """
    values, exponents = np.asarray(losses), np.log(np.asarray(rates))
    first, lowest = max(float(values[0]), FLOOR), int(np.argmin(values))
    if values[0] - values[lowest] < FALL * first:
        calm = np.flatnonzero(values <= values[0] + 0.05 * first)
        return float(max(rates[0], rates[int(calm[-1])] / BELOW_RISE))
    slope = np.gradient(values, exponents)[: lowest + 1]
    return float(max(rates[0], min(rates[int(np.argmin(slope))], rates[lowest] / BELOW_LOWEST)))
