"""How long a run will still take goes by what it took so far."""

from __future__ import annotations

import pytest

from tl_core.training.speed.left import seconds_left

EXPECTED = {"preparing": 10.0, "features": 100.0, "evaluation": 20.0}
BETWEEN = (100.0, 160.0)
"""Its middle is the sum of what was expected."""


def test_at_the_pace_that_was_expected_it_is_the_rest() -> None:
    taken = {"preparing": 10.0, "features": 40.0}
    assert seconds_left(EXPECTED, BETWEEN, taken, "features") == pytest.approx(60 + 20)


def test_a_slow_machine_shows_in_what_comes() -> None:
    taken = {"preparing": 50.0, "features": 0.0}
    assert seconds_left(EXPECTED, BETWEEN, taken, "features") == pytest.approx(120 * 52 / 12)
    of_all = tuple(4 * end for end in BETWEEN)
    before = seconds_left(EXPECTED, (of_all[0], of_all[1]), {}, "preparing")
    assert before == pytest.approx(4 * 130), "before anything was timed it is what the estimate said"


def test_what_the_stage_says_of_itself_counts_before_what_was_expected() -> None:
    taken = {"preparing": 10.0, "features": 99.0}
    assert seconds_left(EXPECTED, BETWEEN, taken, "features", 500.0) == pytest.approx(520)


@pytest.mark.parametrize(("stage", "taken"), [("features", {"features": 100.0, "preparing": 10.0}), ("backbone", {})])
def test_nothing_is_said_of_a_stage_that_was_not_expected_or_is_overdue(stage: str, taken: dict[str, float]) -> None:
    assert seconds_left(EXPECTED, BETWEEN, taken, stage) is None
