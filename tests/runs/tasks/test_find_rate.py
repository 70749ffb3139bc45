"""The range test: a curve that diverges in the end, and a rate that trains."""

from collections.abc import Generator
from itertools import pairwise

import numpy as np
import pytest
import torch

from tests.training.conftest import twin_family
from tests.training.twin import best_of, finish, pictures, spec, twin
from tl_core.documents.events import Event, Progress
from tl_core.documents.tasks import RateCurve
from tl_core.models.build import Backbone
from tl_core.runs.tasks.find_rate import FEWEST_STEPS, LOWEST, range_test, smoothed, suggestion
from tl_core.training.loop.fit import fit
from tl_core.training.loop.inputs import Inputs
from tl_core.training.loop.steps import Running, Trainer
from tl_core.training.strategies.strategies import strategy

__all__ = ["twin_family"]
pytestmark = pytest.mark.usefixtures("twin_family")

WHOLE = strategy("full_fine_tuning")
PIXELS, LABELS = pictures()
ROWS = np.arange(len(LABELS))


def _inputs(backbone: Backbone) -> Inputs:
    return Inputs.of_pixels(backbone, PIXELS, frozen=0, device=torch.device("cpu"), level="none")


def _found(head_rate: float, seed: int = 0) -> tuple[RateCurve, list[object]]:
    backbone = twin()
    plan = spec(recipe={"learning_rate": head_rate, "stage_rate": head_rate / 2}, seed=seed)
    trainer = Trainer(backbone, _inputs(backbone), LABELS, spec=plan, strategy=WHOLE, frozen=0)
    curve, events = finish(range_test(trainer, ROWS[:54], plan))
    return curve, list(events)


def _trained(rate: float) -> float:
    """Validation accuracy after a few epochs with that rate."""
    backbone = twin()
    plan = spec(epochs=6, recipe={"learning_rate": rate, "stage_rate": rate / 2})
    _, events = finish(
        fit(
            backbone,
            _inputs(backbone),
            LABELS,
            ROWS[:54],
            ROWS[54:],
            spec=plan,
            strategy=WHOLE,
            frozen=0,
        )
    )
    return best_of(events).val_accuracy


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


class Bowl:
    """Stands for a Trainer: one weight in a parabola, by plain gradient steps, so that rates above 2 diverge."""

    def __init__(self) -> None:
        self.weight = 3.0

    def step(
        self, rows: np.ndarray, factor: float, *, draw: list[int], running: Running
    ) -> Generator[Event, None, None]:
        running.images, running.loss_sum = len(rows), len(rows) * self.weight**2
        self.weight -= 1e-2 * factor * self.weight
        yield from ()


def test_it_ends_where_training_diverges() -> None:
    curve, _ = finish(range_test(Bowl(), ROWS, spec(recipe={"learning_rate": 1e-2}, batch_size=1)))  # type: ignore[arg-type]
    assert len(curve.rates) == 100, "up to 3 a bowl is left late"
    assert 0.01 < curve.suggested < 0.3
    steep = Bowl()
    steep.weight = 1e3
    curve, _ = finish(range_test(steep, ROWS, spec(recipe={"learning_rate": 1e-4}, batch_size=1)))  # type: ignore[arg-type]
    assert len(curve.rates) < 90
    assert 1e-4 < curve.suggested < 3e-3


def test_the_smoothed_loss_falls_where_the_loss_fell() -> None:
    falls = [2.0] * 30 + [1.0] * 30
    smooth = smoothed(falls)
    assert smooth[0] == pytest.approx(2.0)
    assert smooth[-1] == pytest.approx(1.0)
    assert (smooth[29] + smooth[30]) / 2 == pytest.approx(1.5)


RATES = [10.0 ** (-6 + step / 10) for step in range(61)]


def test_the_suggestion_is_where_it_falls_fastest_on_the_safe_side() -> None:
    exponents = np.log10(RATES)
    falls = 2 - 1.5 / (1 + np.exp(-6 * (exponents + 3.5)))
    rises = np.where(exponents > -1, (exponents + 1) * 5, 0)
    assert suggestion(RATES, list(falls + rises)) == pytest.approx(10**-3.5, rel=0.3)
    steep_at_the_end = np.where(exponents < -2, 2.0, 2 - (exponents + 2))
    found = suggestion(RATES[:51], list(steep_at_the_end[:51]))
    assert found <= RATES[50] / 10 * 1.01


def test_what_knows_the_pictures_already_gets_a_rate_below_the_rise() -> None:
    exponents = np.log10(RATES)
    dips_a_little = 0.06 - 0.02 * np.exp(-((exponents + 4.2) ** 2))
    rises = np.where(exponents > -3.8, (exponents + 3.8) ** 2, 0)
    assert 2e-5 < suggestion(RATES, list(dips_a_little + rises)) < 2e-4
