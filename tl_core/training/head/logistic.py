"""Multinomial logistic regression with an L2 penalty by SciPy's L-BFGS, on features in memory or on the disk. Imports no torch.

scikit-learn has the same objective and finds the same solutions, which a test checks. But importing its linear models takes longer
than a fit on a few hundred images, and it copies the features several times, which 50,000 images on 4 GB do not allow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

ITERATIONS = 100
"""Largest number of iterations of L-BFGS for one penalty; enough from a warm start."""
IN_MEMORY = 256_000_000
"""Bytes of scaled features that are kept in memory; more are scaled part by part in every pass."""
PART = 4_096
"""Images that are read at once."""
TOLERANCE = 1e-3
"""Largest entry of the mean loss's gradient at which a fit ends."""


class Features(Protocol):
    """Features (N, D) of images, read part by part; an array also is one."""

    def __len__(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, part: slice, /) -> NDArray[np.floating[Any]]: ...


@dataclass(frozen=True)
class Taken:
    """Some rows of an array that may be on the disk; they are read when they are needed."""

    features: NDArray[np.floating[Any]]
    rows: NDArray[np.integer[Any]]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, ...]:
        return len(self.rows), *self.features.shape[1:]

    def __getitem__(self, part: slice, /) -> NDArray[np.floating[Any]]:
        return np.asarray(self.features[self.rows[part]])


@dataclass(frozen=True)
class Scaling:
    """Centre and scale of features, so that one penalty and one learning rate suit every backbone."""

    centre: NDArray[np.float32]
    """(D,)"""
    scale: float

    @classmethod
    def of(cls, features: Features) -> Scaling:
        """The mean of `features` (N, D), and the square root of their mean variance."""
        count, size = features.shape
        starts = range(0, count, PART)
        centre = sum(features[start : start + PART].sum(axis=0, dtype=np.float64) for start in starts) / max(1, count)
        squares = sum(float(np.square(features[start : start + PART] - centre).sum()) for start in starts)
        scale = float(np.sqrt(squares / max(1, count * size))) or 1.0
        return cls(np.asarray(centre, dtype=np.float32), scale)

    def apply(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """`features` (N, D), centred and scaled."""
        return np.asarray((features - self.centre) / np.float32(self.scale), dtype=np.float32)

    def fold(
        self, weight: NDArray[np.floating], bias: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The weights (C, D) and bias (C,) for raw features that give the same logits as these for scaled features."""
        folded = weight.astype(np.float64) / self.scale
        return folded.astype(np.float32), (bias - folded @ self.centre.astype(np.float64)).astype(np.float32)


class Scaled:
    """Features (N, D) scaled by `scaling`: kept in memory where they are few, else scaled part by part when they are read."""

    def __init__(self, features: Features, scaling: Scaling) -> None:
        self._count, self.size = features.shape
        """N and D"""
        self._scaling = scaling
        self._small = 4 * self._count * self.size <= IN_MEMORY
        self._features: Features = scaling.apply(features[:]) if self._small else features

    def __len__(self) -> int:
        return self._count

    def parts(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Pairs of rows and their scaled features, in order."""
        if self._small:
            yield slice(0, len(self)), np.asarray(self._features[:], dtype=np.float32)
            return
        for start in range(0, len(self), PART):
            rows = slice(start, min(start + PART, len(self)))
            yield rows, self._scaling.apply(self._features[rows])

    def logits(self, weight: NDArray[np.floating], bias: NDArray[np.floating]) -> NDArray[np.float32]:
        """Logits (N, C) of a head for scaled features."""
        weight, bias = weight.astype(np.float32), bias.astype(np.float32)
        return np.concatenate([part @ weight.T + bias for _, part in self.parts()])


@dataclass(frozen=True)
class Fit:
    """Weights for scaled features."""

    weight: NDArray[np.float64]
    """(C, D); they sum to 0 over the classes, which is where the penalty is smallest."""
    bias: NDArray[np.float64]
    """(C,)"""

    @classmethod
    def start(cls, classes: int, size: int) -> Fit:
        """Weights of zeros for `classes` classes and `size` features."""
        return cls(np.zeros((classes, size)), np.zeros(classes))


def fit(
    features: Scaled,
    labels: NDArray[np.integer],
    *,
    c: float,
    start: Fit,
    counts: NDArray[np.floating] | None = None,
) -> Fit:
    """The weights that minimise the sum of `counts` times the log loss, plus half the squared weights over `c`.

    `labels` (N,) are 0 to C - 1, and `counts` (N,) the weight of each image, 1 without it. The bias is not penalised. With two
    classes, only the difference of their weights is penalised, so that `c` means the same as in a model with one row of weights.
    Runs on one thread, since BLAS threads slow each other down here; the same arrays give the same weights. A fit that stops at
    `ITERATIONS` is judged on the validation split like the others.
    """
    from scipy.optimize import minimize
    from threadpoolctl import threadpool_limits

    classes, size = start.weight.shape
    strength = (2.0 if classes == 2 else 1.0) / c
    total = float(len(labels) if counts is None else counts.sum())

    def mean_loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight, bias = flat[classes:].reshape(classes, size), flat[:classes]
        narrow, narrow_bias = weight.astype(np.float32), bias.astype(np.float32)
        loss, gradient = 0.0, np.zeros_like(flat)
        for rows, part in features.parts():
            truth = np.arange(len(part)), labels[rows]
            scores = part @ narrow.T + narrow_bias
            scores -= scores.max(axis=1, keepdims=True)
            shares = np.exp(scores)
            sums = shares.sum(axis=1, keepdims=True)
            each = np.log(sums[:, 0], dtype=np.float64) - scores[truth]
            shares /= sums
            shares[truth] -= 1.0
            if counts is not None:
                each = each * counts[rows]
                shares *= counts[rows, None].astype(np.float32)
            loss += float(each.sum())
            gradient[:classes] += shares.sum(axis=0, dtype=np.float64)
            gradient[classes:] += (shares.T @ part).ravel()
        gradient[classes:] += strength * flat[classes:]
        penalty = 0.5 * strength * float(flat[classes:] @ flat[classes:])
        return (loss + penalty) / total, gradient / total

    with threadpool_limits(1):
        found = minimize(
            mean_loss,
            np.concatenate([start.bias, start.weight.ravel()]),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": ITERATIONS, "gtol": TOLERANCE, "ftol": 64 * np.finfo(np.float64).eps, "maxls": 50},
        ).x
    weight, bias = found[classes:].reshape(classes, size), found[:classes]
    return Fit(weight - weight.mean(axis=0), bias - bias.mean())
