"""Who can no longer win a race, and who is trained next."""

import math

import numpy as np
import pytest

from tl_core.evaluation.comparison import interval, judged_from, next_one, out_of_reach


def test_only_whoever_lies_below_the_leader_by_more_than_chance_explains_is_out_of_reach() -> None:
    assert out_of_reach(0.71, 0.93, 95)
    assert not out_of_reach(0.85, 0.93, 95)
    assert not out_of_reach(0.93, 0.71, 95)
    assert not out_of_reach(0.71, 0.93, 20), "the same shares of fewer pictures"
    low, high = interval(0.71, 95)
    assert low < 0.71 < high < interval(0.93, 95)[0]


def test_one_that_is_as_good_as_the_leader_is_hardly_ever_out_of_reach() -> None:
    """With five looks at states that are as good as the leader, each on the same 100 pictures."""
    generator = np.random.default_rng(0)
    leader = generator.binomial(100, 0.9, size=2000) / 100
    best = generator.binomial(100, 0.9, size=(2000, 5)).max(axis=1) / 100
    lost = [out_of_reach(one, other, 100) for one, other in zip(best, leader, strict=True)]
    assert np.mean(lost) < 0.005


@pytest.mark.parametrize(("epochs", "last_phase", "first"), [(10, 1, 5), (5, 1, 3), (1, 1, 1), (8, 7, 7), (8, 2, 4)])
def test_nobody_is_judged_before_half_of_its_epochs_and_its_last_phase(
    epochs: int, last_phase: int, first: int
) -> None:
    assert judged_from(epochs, last_phase) == first


def test_the_one_that_takes_the_least_time_comes_next() -> None:
    expected = {"a": 30.0, "b": None, "c": 10.0, "d": 10.0}
    order = []
    while expected:
        chosen = next_one(expected, 60.0, all_may=False)
        assert chosen is not None
        order.append(chosen)
        del expected[chosen]
    assert order == ["c", "d", "a", "b"]


def test_what_would_take_far_too_long_is_begun_only_where_nothing_else_has_come_to_anything() -> None:
    assert next_one({"a": 121.0}, 60.0, all_may=False) is None
    assert next_one({"a": 120.0}, 60.0, all_may=False) == "a"
    assert next_one({"a": 121.0}, 60.0, all_may=True) == "a"
    assert next_one({"a": 1.0}, 0.0, all_may=True) is None
    assert next_one({}, math.inf, all_may=True) is None
