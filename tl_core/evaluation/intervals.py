"""Confidence intervals of figures that were measured on few images."""

from collections.abc import Iterator, Sequence
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
"""Resamples of a bootstrap."""


def wilson_interval(correct: float, images: float, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval (Wilson 1927) of the accuracy `correct / images`, as fractions; (0, 1) without images.

    SciPy gives the same values, as a test checks, but importing `scipy.stats` takes a third of a second.
    """
    if images == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, weight = correct / images, z * z / images
    centre = (share + weight / 2) / (1 + weight)
    half = sqrt(share * (1 - share) * weight + weight * weight / 4) / (1 + weight)
    low = 0.0 if correct == 0 else max(0.0, centre - half)
    high = 1.0 if correct == images else min(1.0, centre + half)
    return low, high


def accuracy_interval(
    right: NDArray[np.bool_],
    groups: NDArray[np.integer] | None = None,
    *,
    folds: int | None = None,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Interval of the share of `right` (N,), as fractions; (0, 1) without images.

    Where images with the same entry of `groups` (N,) are of one kind, they count as one draw: groups are resampled with all that belongs to
    them, and the interval lies between percentiles of the share (the cluster bootstrap, Field and Welsh 2007). Where all groups have the
    same share, as a single one has, resamples do not differ, so the interval is Wilson's for as many images as there are groups. Without
    `groups`, or where each has one image, it is `wilson_interval`. `folds`: how many the answers come from, where they are those of
    cross-validation; see `widening`.
    """
    correct, images = int(right.sum()), len(right)
    if groups is None or len(np.unique(groups)) == images:
        return wilson_interval(correct / widening(folds), images / widening(folds), confidence=confidence)
    number, at = np.unique(groups, return_inverse=True)
    sizes = np.bincount(at).astype(np.float64)
    rights = np.bincount(at, weights=right.astype(np.float64))
    if np.ptp(rights / sizes) == 0:
        alike = len(number) / widening(folds)
        return wilson_interval(correct / images * alike, alike, confidence=confidence)
    shares = [float(rights[drawn].sum() / sizes[drawn].sum()) for drawn in _resamples(len(number))]
    return _widened(correct / images, _percentiles(shares, confidence), folds)


def macro_f1_interval(
    predicted: NDArray[np.integer],
    truth: NDArray[np.integer],
    classes: int,
    groups: NDArray[np.integer] | None = None,
    *,
    folds: int | None = None,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Bootstrap interval (Efron and Tibshirani 1993) of the mean F1 of the classes, as fractions; (0, 1) without images.

    `predicted` and `truth` (N,) are 0 to `classes` - 1; a class that a resample neither holds nor predicts is left out of its mean. With
    `groups` (N,), groups are resampled in place of images. `folds` as for `accuracy_interval`.
    """
    if len(truth) == 0:
        return 0.0, 1.0
    at = np.arange(len(truth)) if groups is None else np.unique(groups, return_inverse=True)[1]
    hits = predicted == truth

    def macro_f1(often: NDArray[np.int64]) -> float:
        right = np.bincount(truth[hits], often[hits], minlength=classes)
        named = np.bincount(truth, often, minlength=classes) + np.bincount(predicted, often, minlength=classes)
        return float((2 * right / np.maximum(named, 1)).sum() / (named > 0).sum())

    number = int(at.max()) + 1
    values = [macro_f1(np.bincount(drawn, minlength=number)[at]) for drawn in _resamples(number)]
    return _widened(macro_f1(np.ones(len(truth), dtype=np.int64)), _percentiles(values, confidence), folds)


def widening(folds: int | None) -> float:
    """Factor of the variance of a figure that comes from so many folds, K: 2 - 1 / K; 1 without `folds`.

    Heads of different folds learn mostly from the same images, so they err together. If the shares of two folds have a correlation of r, the mean
    of K shares has 1 + (K - 1) r times the variance that it has without. Nadeau and Bengio 2003 take r to be the share of the images that
    are judged at once, 1 / K. Their own factor, 1 + K / (K - 1), multiplies the variance that is estimated from differences between folds,
    which such a correlation makes smaller; here a share is taken to vary as that of independent answers does. How often the
    intervals hold is measured in `docs/honesty.md`.
    """
    return 1.0 if folds is None else 2 - 1 / folds


def _widened(value: float, interval: tuple[float, float], folds: int | None) -> tuple[float, float]:
    factor = sqrt(widening(folds))
    low, high = (value + factor * (end - value) for end in interval)
    return max(0.0, low), min(1.0, high)


def _resamples(number: int) -> Iterator[NDArray[np.int64]]:
    """`RESAMPLES` times `number` draws from 0 to `number` - 1, with replacement; the same number gives the same draws."""
    generator = np.random.default_rng(0)
    for _ in range(RESAMPLES):
        yield generator.integers(number, size=number)


def _percentiles(values: Sequence[float], confidence: float) -> tuple[float, float]:
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
