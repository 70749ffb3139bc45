"""Estimates order strategies, machines and sizes as they are, and read like a sentence."""

from __future__ import annotations

import pytest

from tl_core.models.registry import network, networks
from tl_core.training.estimate import Estimate, estimate, reading_is_cheaper
from tl_core.training.strategies import strategies, strategy


@pytest.mark.parametrize("name", list(networks()))
def test_every_network_and_strategy_has_an_estimate(name: str) -> None:
    for row in strategies().values():
        found = estimate(network(name), row, images=600)
        assert 0 < found.low < found.high < 24 * 3600


def test_longer_runs_take_longer() -> None:
    lite = network("efficientnet_lite0")
    head, last, whole = (estimate(lite, row, images=600).high for row in strategies().values())
    assert head < last < whole
    one = strategy("full_fine_tuning")
    assert estimate(lite, one, images=600, epochs=1).high < whole
    assert estimate(lite, one, images=6000).high > 5 * whole
    assert estimate(lite, one, images=600, image_size=448).high > 2 * whole
    assert estimate(lite, one, images=6000, device="cuda").high < whole


def test_the_default_run_is_said_to_take_seconds() -> None:
    found = estimate(network("efficientnet_lite0"), strategy("feature_extraction"), images=600)
    assert str(found).endswith("seconds")


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (12.2, 33.0, "10 to 35 seconds"),
        (61.0, 200.0, "1 to 3 minutes"),
        (100.0, 100.0, "about 2 minutes"),
        (4000.0, 9000.0, "1 to 2 hours"),
        (50.0, 91.0, "1 to 2 minutes"),
    ],
)
def test_reads_like_a_sentence(low: float, high: float, text: str) -> None:
    assert str(Estimate(low, high)) == text


def test_two_last_stages_learn_from_what_is_read_back_and_bulky_ones_are_computed_again() -> None:
    lite = network("efficientnet_lite0")
    after = {k: 2 * c * h * w for k, (c, h, w) in enumerate(lite.stage_shapes, start=1)}
    for k in (5, 6):
        assert reading_is_cheaper(lite, frozen=k, image_size=224, bytes_an_image=after[k], device="cpu")
    assert reading_is_cheaper(lite, frozen=1, image_size=224, bytes_an_image=100 * after[1], device="cpu") is False
