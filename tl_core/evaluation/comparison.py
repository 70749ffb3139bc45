"""Says which of two classifiers is better, from their answers to the same pictures.

The test is exact. It asks how often chance would favour one of the two as much, if each group of pictures were as likely to favour the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from math import ceil, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.judgements import Comparison, Verdict
from tl_core.evaluation.intervals import wilson_interval

LEVEL = 0.05
"""Share of the cases in which chance alone is called a difference."""
POWER = 0.8
"""Share of the cases in which a difference is found with `images_needed` pictures."""
_EXACT_UP_TO = 2_000
"""Expected discordant pictures up to which the power is summed up exactly; beyond, Connor's formula differs by less than a percent."""


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
    (found,) = compare_all([first, second], truth, groups)
    return found


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
    from scipy.special import bdtr

    sizes, counts = np.unique(np.abs(nets[nets != 0]), return_counts=True)
    observed = abs(int(nets.sum()))
    if observed == 0:
        return 1.0
    if len(sizes) == 1:
        # The fewest flips to the other side that give a sum as large.
        flips = (int(counts[0]) - observed // int(sizes[0])) // 2
        return min(1.0, 2 * float(bdtr(flips, int(counts[0]), 0.5)))
    chances = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        # The sum of `count` terms of plus or minus `size`, from the lowest on.
        terms = np.zeros(2 * size * count + 1)
        terms[:: 2 * size] = _binomial(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, terms)
    middle = len(chances) // 2
    return min(1.0, 2 * float(chances[middle + observed :].sum()))


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
    stay as they are. The smallest number of groups is searched for with the exact power of the test, from the formula of Connor 1987 on.
    Groups that favour a side by several images count as groups of one size that have the same mean and the same variance.
    """
    total, squares, absolute = (float(value) for value in (nets.sum(), (nets**2).sum(), np.abs(nets).sum()))
    if total == 0:
        return None
    groups = len(nets)
    size = squares / absolute
    discordant = squares / size**2 / groups
    gain = abs(total) / size / groups
    connor = _connor(discordant, gain, level, power)
    if connor * discordant > _EXACT_UP_TO:
        return ceil(connor * images / groups)
    favoured = (1 + gain / discordant) / 2
    too_few, enough = 0, ceil(connor)
    while _power(enough, discordant, favoured, level) < power:
        too_few, enough = enough, ceil(1.2 * enough)
    while enough - too_few > 1:
        middle = (too_few + enough) // 2
        if _power(middle, discordant, favoured, level) < power:
            too_few = middle
        else:
            enough = middle
    return ceil(enough * images / groups)


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


def _joined(one: float, other: float, correlation: float) -> float:
    return sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))


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


def _connor(discordant: float, gain: float, level: float, power: float) -> float:
    """Images with which a share of `discordant` ones, whose two kinds differ by `gain`, is found not to be even (Connor 1987)."""
    normal = NormalDist()
    z_level, z_power = normal.inv_cdf(1 - level / 2), normal.inv_cdf(power)
    return (z_level * sqrt(discordant) + z_power * sqrt(max(0.0, discordant - gain**2))) ** 2 / gain**2


def _power(units: int, discordant: float, favoured: float, level: float) -> float:
    """How often the exact test of `units` finds for the better one: a share of `discordant` ones, of which `favoured` are for it."""
    from scipy.special import bdtr, bdtrik

    spread = 6 * sqrt(units * discordant * (1 - discordant)) + 1
    counts = np.arange(max(1, int(units * discordant - spread)), min(units, ceil(units * discordant + spread)) + 1)
    against = np.floor(np.nan_to_num(bdtrik(level / 2, counts, 0.5), nan=-1.0))
    # What `bdtrik` interpolates may be one off.
    against += bdtr(against + 1, counts, 0.5) <= level / 2
    against -= (against >= 0) & (bdtr(np.maximum(against, 0), counts, 0.5) > level / 2)
    found = np.where(against >= 0, bdtr(np.maximum(against, 0), counts, 1 - favoured), 0.0)
    return float(_binomial(counts, units, discordant) @ found)


def _binomial(successes: NDArray[np.integer], trials: int, share: float) -> NDArray[np.float64]:
    """The binomial probabilities of `successes`."""
    from scipy.special import gammaln, xlog1py, xlogy

    ways = gammaln(trials + 1) - gammaln(successes + 1) - gammaln(trials - successes + 1)
    return np.asarray(np.exp(ways + xlogy(successes, share) + xlog1py(trials - successes, -share)))
