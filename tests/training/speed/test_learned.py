"""What earlier runs tell about how long stages take."""

from __future__ import annotations

import pytest

from tl_core.training.speed.learned import Former, factors


def test_each_stage_has_the_pace_that_it_had() -> None:
    former = [Former({"features": 100.0, "training": 50.0}, {"features": 800.0, "training": 50.0})]
    found = factors(former)
    assert found["features"] == pytest.approx(8, rel=0.05)
    assert found["training"] == pytest.approx(1, rel=0.2)


def test_a_stage_of_a_moment_follows_the_whole_run() -> None:
    former = [Former({"preparing": 60.0, "evaluation": 0.001}, {"preparing": 120.0, "evaluation": 0.5})]
    assert factors(former)["evaluation"] == pytest.approx(2, rel=0.2), "not five hundred"


def test_nothing_is_scaled_beyond_what_machines_differ_by() -> None:
    assert set(factors([Former({"training": 100.0}, {"training": 1e9})]).values()) == {16.0}
    assert factors([Former({"training": 1e6}, {"training": 0.0})])["training"] == 0.25


def test_what_reading_took_says_nothing_about_a_gpu() -> None:
    slower = {"preparing": 3.0, "backbone": 3.0, "export": 3.0, "evaluation": 3.0}
    assert factors([], slowness=3.0, device="cuda") == slower
    assert set(factors([], slowness=3.0).values()) == {3.0}
    assert factors([]) == {}
