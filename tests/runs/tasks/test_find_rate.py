"""The range test: a curve that diverges in the end, and a rate that trains."""

from collections.abc import Generator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from tests.training.conftest import small_families
from tests.training.twin import TRAIN, best_of, finish, on_pixels, spec, train, trainer_of, twin
from tl_core.documents.events import Event, Progress
from tl_core.documents.tasks import RateCurve
from tl_core.runs.tasks.find_rate import FEWEST_STEPS, LOWEST, range_test, smoothed, suggestion
from tl_core.training.loop.steps import Running

__all__ = ["small_families"]
WHOLE = "full_fine_tuning"


def _found(head_rate: float) -> tuple[RateCurve, list[Event]]:
    backbone = twin()
    plan = spec(recipe={"learning_rate": head_rate, "stage_rate": head_rate / 2})
    return finish(range_test(trainer_of(backbone, on_pixels(backbone), plan, WHOLE), TRAIN, plan))


def _trained(rate: float) -> float:
    """Validation accuracy after a few epochs with that rate."""
    backbone = twin()
    plan = spec(epochs=6, recipe={"learning_rate": rate, "stage_rate": rate / 2})
    return best_of(train(backbone, on_pixels(backbone), plan, WHOLE)).val_accuracy


def test_the_suggested_rate_trains_and_the_lowest_does_not() -> None:
    curve, events = _found(1e-3)
    assert curve.rates[0] == pytest.approx(LOWEST)
    assert all(later > earlier for earlier, later in pairwise(curve.rates))
    assert len(curve.rates) == len(curve.losses) <= FEWEST_STEPS
    assert 1e-3 < curve.suggested < 0.1
    assert _trained(curve.suggested) > 0.8 > _trained(curve.rates[0])
    assert any(isinstance(event, Progress) for event in events)


def test_the_curve_is_of_the_rate_not_of_the_recipe_and_the_same_every_time() -> None:
    one, again, other = _found(1e-3)[0], _found(1e-3)[0], _found(0.05)[0]
    assert one == again
    assert other.losses == pytest.approx(one.losses[: len(other.losses)], rel=1e-3)


@dataclass
class Bowl:
    """Stands for a Trainer: one weight in a parabola, by plain gradient steps, so that rates above 2 diverge."""

    weight: float

    def step(
        self, rows: np.ndarray, factor: float, *, draw: list[int], running: Running
    ) -> Generator[Event, None, None]:
        running.images, running.loss_sum = len(rows), len(rows) * self.weight**2
        self.weight -= 1e-2 * factor * self.weight
        yield from ()


@pytest.mark.parametrize(
    ("weight", "rate", "steps", "low", "high"),
    [(3.0, 1e-2, range(100, 101), 0.01, 0.3), (1e3, 1e-4, range(1, 90), 1e-4, 3e-3)],
    ids=["up to 3 a bowl is left late", "steep"],
)
def test_it_ends_where_training_diverges(weight: float, rate: float, steps: range, low: float, high: float) -> None:
    plan = spec(recipe={"learning_rate": rate}, batch_size=1)
    curve, _ = finish(range_test(Bowl(weight), np.arange(72), plan))  # type: ignore[arg-type]
    assert len(curve.rates) in steps
    assert low < curve.suggested < high


def test_the_smoothed_loss_falls_where_the_loss_fell() -> None:
    falls = [2.0] * 30 + [1.0] * 30
    smooth = smoothed(falls)
    assert smooth[0] == pytest.approx(2.0)
    assert smooth[-1] == pytest.approx(1.0)
    assert (smooth[29] + smooth[30]) / 2 == pytest.approx(1.5)


EXPONENTS = np.arange(-60, 1) / 10
FALLS = 2 - 1.5 / (1 + np.exp(-6 * (EXPONENTS + 3.5))) + np.where(EXPONENTS > -1, (EXPONENTS + 1) * 5, 0)
STEEP_AT_THE_END = np.where(EXPONENTS < -2, 2.0, 2 - (EXPONENTS + 2))[:51]
DIPS_A_LITTLE = 0.06 - 0.02 * np.exp(-((EXPONENTS + 4.2) ** 2)) + np.where(EXPONENTS > -3.8, (EXPONENTS + 3.8) ** 2, 0)


@pytest.mark.parametrize(
    ("losses", "low", "high"),
    [(FALLS, 0.7 * 10**-3.5, 1.3 * 10**-3.5), (STEEP_AT_THE_END, 0, 1.01e-2), (DIPS_A_LITTLE, 2e-5, 2e-4)],
    ids=["where it falls fastest", "on the safe side of the end", "below the rise of what knows the pictures already"],
)
def test_the_suggestion_is_where_it_falls_fastest_on_the_safe_side(losses: np.ndarray, low: float, high: float) -> None:
    assert low < suggestion(list(10 ** EXPONENTS[: len(losses)]), list(losses)) < high
