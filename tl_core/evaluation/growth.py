"""What more pictures would bring, from the answers of heads that learned from fewer."""

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.report import Growth

EXPONENT = 0.5
"""How fast the error falls with the number n of pictures before anything is known: as n to this power, the rate at which estimation
errors fall.
"""
SPREAD = 0.1
"""Standard deviation of the exponents of data sets around it."""
REPLICATES = 1_000
_STANDS_OUT = 0.8
"""Share of the replicates in which one class must gain most to be named."""
_EXPONENTS = np.linspace(0.0, 1.2, 61)


def growth(
    sizes: NDArray[np.floating],
    right: NDArray[np.bool_],
    labels: NDArray[np.integer],
    groups: NDArray[np.integer],
    *,
    seed: int = 0,
) -> Growth:
    """The learning curve of `right`, continued to twice the pictures.

    `sizes` (S,), rising, say how many pictures the heads of each point learned from, and `right` (S, N) whether each of N pictures was
    answered rightly by a head that had seen neither it nor its group. `labels` (N,) are class indices, `groups` (N,) number the
    pictures that show one thing. The error is taken to follow an inverse power law, b / n^c (Hestness et al. 2017; Viering and Loog
    2023), whose exponent has a normal prior, since a few noisy points say little of it. The interval is that of the law fitted to
    bootstrap samples of the groups, each with a draw of the prior, and of the chance in judging by twice as many pictures.
    `benchmarks/growth.py` measures how often it holds.
    """
    images = len(labels)
    rng = np.random.default_rng(seed)
    _, group = np.unique(groups, return_inverse=True)
    many = int(group.max()) + 1
    # How often each group is drawn, and so each of its pictures.
    drawn = rng.multinomial(many, np.full(many, 1 / many), size=REPLICATES)[:, group].astype(np.float64)
    priors = EXPONENT + SPREAD * rng.standard_normal(REPLICATES)
    wrong = (~right).T.astype(np.float64)
    relative = np.asarray(sizes, dtype=np.float64) / sizes[-1]

    def fewer(rows: NDArray[np.bool_]) -> NDArray[np.float64]:
        """How many of the mistakes on `rows` twice the pictures would save (REPLICATES,)."""
        counts = drawn[:, rows].sum(axis=1)
        errors = drawn[:, rows] @ wrong[rows] / np.maximum(counts, 1)[:, None]
        law = _law(relative, errors, priors, float(rows.sum()))
        return np.asarray(counts * (law[:, 0] - law[:, 1]))

    errors = drawn @ wrong / drawn.sum(axis=1, keepdims=True)
    twice = 1 - _law(relative, errors, priors, images)[:, 1]
    noise = np.sqrt(np.clip(twice * (1 - twice), 0.25 / images, None) / (2 * images))
    low, high = np.quantile(np.clip(twice + noise * rng.standard_normal(REPLICATES), 0, 1), [0.025, 0.975])
    expected = 1 - _law(relative, wrong.mean(axis=0)[None], np.array([EXPONENT]), images)[0, 1]
    classes = np.unique(labels)
    gains = np.stack([fewer(labels == label) for label in classes])
    wins = np.bincount(gains.argmax(axis=0), weights=gains.max(axis=0) > 0, minlength=len(classes)) / REPLICATES
    return Growth(
        sizes=tuple(map(float, sizes)),
        accuracies=tuple(map(float, right.mean(axis=1))),
        twice=float(expected),
        interval=(float(low), float(high)),
        photograph=int(classes[wins.argmax()]) if wins.max() >= _STANDS_OUT else None,
    )


def _law(
    relative: NDArray[np.float64], errors: NDArray[np.float64], priors: NDArray[np.float64], images: float
) -> NDArray[np.float64]:
    """Errors (B, 2) with all pictures and with twice as many, by the likeliest law for each row of `errors` (B, S).

    `relative` (S,) are the sizes as shares of the largest; `priors` (B,) the mean of the prior of each exponent; `images` those that the
    errors were counted on.
    """
    usual = np.clip(errors.mean(axis=0), 0.5 / images, 1 - 0.5 / images)
    weight = images / (usual * (1 - usual))
    best, law = np.full(len(errors), np.inf), np.zeros((len(errors), 2))
    for exponent in _EXPONENTS:
        curve = relative**-exponent
        scale = (errors * (weight * curve)).sum(axis=1) / float((weight * curve**2).sum())
        misfit = (weight * (scale[:, None] * curve - errors) ** 2).sum(axis=1) + ((exponent - priors) / SPREAD) ** 2
        better = misfit < best
        best[better] = misfit[better]
        law[better] = scale[better, None] * np.array([1.0, 2.0**-exponent])
    return law
