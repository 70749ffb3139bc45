"""Says which of two classifiers is better, from their answers to the same pictures; and when a contestant of a race can no longer win, and
which one is trained next.

The test is exact. It asks how often chance would favour one of the two as much, if each group of pictures were as likely to favour the other.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations
from math import ceil, inf, lgamma, log, sqrt
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.report import Comparison, Verdict
from tl_core.evaluation.intervals import wilson_interval

LEVEL = 0.05
"""Share of the cases in which chance alone is called a difference."""
POWER = 0.8
"""Share of the cases in which a difference is found with `images_needed` pictures."""


def compare(
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    truth: NDArray[np.integer],
    groups: NDArray[np.integer] | None = None,
) -> Comparison:
    """Compare B, which answered `second` (N,), with A, which answered `first` (N,), where the labels `truth` (N,) are right.

    Images with the same entry of `groups` (N,) show the same thing and count as one unit; without `groups` each is one.

    Raises:
        ValueError: shapes that do not fit, or no images.
    """
    return compare_all([first, second], truth, groups)[0]


def compare_all(
    answers: Sequence[NDArray[np.integer]], truth: NDArray[np.integer], groups: NDArray[np.integer] | None = None
) -> tuple[Comparison, ...]:
    """Compare each pair of `answers`, R arrays (N,): the first with the second, the first with the third, and so on.

    The p-values of several pairs are corrected (`holm`), and the verdicts are those of the corrected ones. `images_needed` then
    holds for the level that the first step of the correction has, 5 % divided by the number of pairs. Otherwise as `compare`.
    """
    shapes = {array.shape for array in (*answers, truth, *([] if groups is None else [groups]))}
    if len(shapes) != 1 or not len(truth):
        raise ValueError(f"Answers, labels and groups have the shapes {sorted(shapes)}.")
    unit = np.arange(len(truth)) if groups is None else np.unique(groups, return_inverse=True)[1]
    pairs = list(combinations(answers, 2))
    nets = [
        np.bincount(unit, (second == truth).astype(float) - (first == truth)).astype(np.int64)
        for first, second in pairs
    ]
    corrected = holm([p_value(net) for net in nets])
    return tuple(
        _compared(*pair, truth, unit, net, p, LEVEL / len(pairs))
        for pair, net, p in zip(pairs, nets, corrected, strict=True)
    )


def p_value(nets: NDArray[np.integer]) -> float:
    """Exact two-sided p-value of no difference, from how many images more B named rightly than A in each group, `nets` (G,).

    If the two are equally good, each group could as well favour the other by as much. So the sum of `nets` is compared with its
    distribution over all 2^G ways to flip their signs (the randomisation test of Fisher 1935, exact). Where each image is a group of its own,
    this is the exact test of McNemar 1947: the binomial test of the discordant images.
    """
    sizes, counts = np.unique(np.abs(nets[nets != 0]), return_counts=True)
    chances = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        # The sum of `count` terms of plus or minus `size`, from the lowest on.
        terms = np.zeros(2 * size * count + 1)
        terms[:: 2 * size] = _heads(count)
        chances = np.convolve(chances, terms)
    middle, observed = len(chances) // 2, abs(int(nets.sum()))
    return 1.0 if observed == 0 else min(1.0, 2 * float(chances[middle + observed :].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """The `p_values` of several tests, corrected so that one in twenty such families has a finding by chance (Holm 1979)."""
    corrected, largest = [1.0] * len(p_values), 0.0
    for rank, index in enumerate(np.argsort(p_values, kind="stable").tolist()):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = largest
    return corrected


def images_needed(nets: NDArray[np.integer], images: int, *, level: float = LEVEL, power: float = POWER) -> int | None:
    """The number of images at which the test finds the observed difference with the given power; None where there is none.

    `nets` (G,) are as for `p_value`, of G groups with `images` in all. The shares of the groups that favour either side are taken to
    stay as they are. The number of groups is that of Connor 1987, with a correction for the exact test, whose steps cost it as many groups as
    bring one more to the better side: against the power of the test itself that is right to 4 %, or a little too many where nearly all groups
    favour one side. Groups that favour a side by several images count as groups of one size that have the same mean and the same variance.
    """
    total, squares, absolute = (float(value) for value in (nets.sum(), (nets**2).sum(), np.abs(nets).sum()))
    if total == 0:
        return None
    groups = len(nets)
    size = squares / absolute
    discordant = squares / size**2 / groups
    gain = abs(total) / size / groups
    normal = NormalDist()
    z_level, z_power = normal.inv_cdf(1 - level / 2), normal.inv_cdf(power)
    connor = (z_level * sqrt(discordant) + z_power * sqrt(max(0.0, discordant - gain**2))) ** 2 / gain**2
    return ceil((connor + 1 / gain) * images / groups)


def difference_interval(
    both: float, only_a: float, only_b: float, neither: float, *, confidence: float = 0.95
) -> tuple[float, float]:
    """Interval of the accuracy of B minus that of A, fractions, from how many images both, only A, only B and neither named rightly.

    Method 10 of Newcombe 1998: Wilson's intervals of the two accuracies, put together with the correlation of the answers.
    """
    images = both + only_a + only_b + neither
    a, b = (both + only_a) / images, (both + only_b) / images
    low_a, high_a = wilson_interval(both + only_a, images, confidence=confidence)
    low_b, high_b = wilson_interval(both + only_b, images, confidence=confidence)
    margins = (both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither)
    product = both * neither - only_a * only_b
    if product > 0:
        product = max(0.0, product - images / 2)
    correlation = product / sqrt(margins) if margins else 0.0
    below = _joined(b - low_b, high_a - a, correlation)
    above = _joined(high_b - b, a - low_a, correlation)
    return max(-1.0, b - a - below), min(1.0, b - a + above)


def _joined(side: float, other: float, correlation: float) -> float:
    return sqrt(max(0.0, side**2 - 2 * correlation * side * other + other**2))


def _compared(
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    truth: NDArray[np.integer],
    unit: NDArray[np.integer],
    nets: NDArray[np.int64],
    p: float,
    level: float,
) -> Comparison:
    a, b = first == truth, second == truth
    images = len(truth)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    verdict: Verdict = "cannot_tell" if p >= LEVEL else "better" if nets.sum() > 0 else "worse"
    cells = np.array([(a & b).sum(), only_a, only_b, (~a & ~b).sum()]) / _design_effect(a, b, unit, nets)
    return Comparison(
        verdict=verdict,
        p_value=p,
        images=images,
        groups=len(nets),
        differ=int((first != second).sum()),
        only_a=only_a,
        only_b=only_b,
        difference=(only_b - only_a) / images,
        interval=difference_interval(*cells.tolist()),
        images_needed=images_needed(nets, images, level=level) if verdict == "cannot_tell" else None,
    )


def _design_effect(
    a: NDArray[np.bool_], b: NDArray[np.bool_], unit: NDArray[np.integer], nets: NDArray[np.int64]
) -> float:
    """How many times the variance of the difference is that of independent images, at least 1, by which counts are divided (Rao and Scott 1992)."""
    images, groups = len(a), len(nets)
    if groups == images:
        return 1.0
    each = b.astype(float) - a
    independent = float(((each - each.mean()) ** 2).sum())
    if groups == 1 or independent == 0:
        return images / groups
    clustered = float(((nets - each.mean() * np.bincount(unit)) ** 2).sum()) * groups / (groups - 1)
    return max(1.0, clustered / independent)


def _heads(tosses: int) -> NDArray[np.float64]:
    """The probabilities of 0 to `tosses` heads of a fair coin."""
    ways = np.array([lgamma(heads + 1) + lgamma(tosses - heads + 1) for heads in range(tosses + 1)])
    return np.asarray(np.exp(lgamma(tosses + 1) - ways - tosses * log(2)))


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
    return max(1, ceil(JUDGED_FROM * epochs), last_phase)


def next_one(expected: Mapping[_Name, float | None], left: float, *, all_may: bool) -> _Name | None:
    """Which of the contestants that wait is begun with `left` seconds to go; None where none is.

    It is the one that is `expected` to take the fewest seconds; of equals the first, and those of which nothing is known come
    last. One that would take more than `TOO_LONG` times what is left is not begun, unless `all_may`.
    """
    if left <= 0 or not expected:
        return None
    name, seconds = min(expected.items(), key=lambda one: inf if one[1] is None else one[1])
    return name if all_may or seconds is None or seconds <= TOO_LONG * left else None
