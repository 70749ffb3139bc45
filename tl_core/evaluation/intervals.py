"""The confidence interval of an accuracy that was counted on few images."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist


def wilson_interval(correct: int, images: int, *, confidence: float = 0.95) -> tuple[float, float]:
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
