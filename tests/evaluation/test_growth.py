"""The learning curve, continued to twice the pictures."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tl_core.evaluation.growth import growth

SIZES = np.array([100.0, 141.0, 200.0, 283.0, 400.0])


def answered(errors: NDArray[np.floating], images: int, seed: int = 0) -> NDArray[np.bool_]:
    """Whether each of `images` pictures is right (S, N) with the given share of `errors` (S,); harder pictures stay wrong for longer."""
    hardness = np.random.default_rng(seed).random(images)
    return hardness[None, :] >= np.asarray(errors)[:, None]


def by_law(images: int, at_all: float = 0.2, exponent: float = 0.5) -> NDArray[np.bool_]:
    return answered(at_all * (SIZES / SIZES[-1]) ** -exponent, images)


def test_twice_the_pictures_follow_the_law_of_the_curve() -> None:
    right = by_law(4_000)
    found = growth(SIZES, right, np.zeros(4_000, dtype=int), np.arange(4_000))
    assert found.sizes == tuple(SIZES)
    assert found.accuracies == tuple(right.mean(axis=1))
    expected = 1 - 0.2 * 2**-0.5
    assert found.twice == pytest.approx(expected, abs=0.01)
    assert found.interval[0] < expected < found.interval[1]
    assert found.interval[1] - found.interval[0] < 0.06


def test_a_curve_that_stays_flat_promises_less_than_one_that_rises() -> None:
    flat, steep = (by_law(4_000, exponent=exponent) for exponent in (0.1, 0.9))
    labels, groups = np.zeros(4_000, dtype=int), np.arange(4_000)
    assert growth(SIZES, flat, labels, groups).twice + 0.04 < growth(SIZES, steep, labels, groups).twice


def test_few_pictures_have_a_wide_interval_and_copies_do_not_narrow_it() -> None:
    right, labels = by_law(80), np.zeros(80, dtype=int)

    def width(copies: int, together: bool) -> float:
        groups = np.tile(np.arange(80), copies) if together else np.arange(80 * copies)
        low, high = growth(SIZES, np.tile(right, copies), np.tile(labels, copies), groups).interval
        return high - low

    assert width(1, True) > 0.1
    assert width(8, True) > 1.5 * width(8, False)


def test_the_class_whose_mistakes_become_fewer_is_named_where_one_stands_out() -> None:
    labels = np.arange(900) % 3
    even = np.repeat(by_law(300), 3, axis=1)
    assert growth(SIZES, even, labels, np.arange(900)).photograph is None
    one = even | (labels != 1)
    assert growth(SIZES, one, labels, np.arange(900)).photograph == 1


def test_what_is_always_right_stays_right_and_no_class_is_named() -> None:
    found = growth(SIZES, np.ones((5, 60), dtype=bool), np.arange(60) % 2, np.arange(60))
    assert (found.twice, found.interval[1], found.photograph) == (1.0, 1.0, None)
    assert found.interval[0] > 0.9
