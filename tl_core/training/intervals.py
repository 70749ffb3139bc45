"""How sure a share is that was counted on a few images. Knows no network and no picture."""

from __future__ import annotations


def wilson_interval(correct: int, images: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval (Wilson 1927) of the accuracy `correct / images`, as fractions; (0, 1) without images."""
    if images == 0:
        return 0.0, 1.0
    from scipy.stats import binomtest

    interval = binomtest(correct, images).proportion_ci(confidence_level=confidence, method="wilson")
    return float(interval.low), float(interval.high)
