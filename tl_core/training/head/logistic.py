"""Multinomial logistic regression with an L2 penalty, by SciPy's L-BFGS, over features in memory or on disk. No torch.

scikit-learn has the same objective and finds the same answers, as a test checks. But importing its linear models takes longer
than fitting a few hundred pictures, and it copies its features several times, which 50,000 pictures on 4 GB do not allow.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

ITERATIONS = 100
"""Of L-BFGS for one penalty; enough from a warm start."""
IN_MEMORY = 256_000_000
"""Bytes of scaled features; more are scaled part by part in every pass."""
_PART = 4_096
_TOLERANCE = 1e-3
"""Largest entry of the gradient of the mean loss."""


class Features(Protocol):
    """Features (N, D) of pictures, read part by part; an array is one."""

    def __len__(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, part: slice, /) -> NDArray[np.floating[Any]]: ...


@dataclass(frozen=True)
class Taken:
    """Some rows of an array that may lie on the disk: they are read when they are asked for."""

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
    """Features centred and divided by one common scale, so that one penalty and one learning rate suit every backbone."""

    centre: NDArray[np.float32]
    """(D,)"""
    scale: float

    @classmethod
    def of(cls, features: Features) -> Scaling:
        """Of `features` (N, D): their mean, and the root of their mean variance."""
        count, size = features.shape
        starts = range(0, count, _PART)
        centre = sum(features[start : start + _PART].sum(axis=0, dtype=np.float64) for start in starts) / max(1, count)
        squares = sum(float(np.square(features[start : start + _PART] - centre).sum()) for start in starts)
        scale = float(np.sqrt(squares / max(1, count * size))) or 1.0
        return cls(np.asarray(centre, dtype=np.float32), scale)

    def apply(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        return np.asarray((features - self.centre) / np.float32(self.scale), dtype=np.float32)

    def fold(
        self, weight: NDArray[np.floating], bias: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The weights (C, D) and bias (C,) that give on raw features what these give on scaled ones."""
        folded = weight.astype(np.float64) / self.scale
        return folded.astype(np.float32), (bias - folded @ self.centre.astype(np.float64)).astype(np.float32)


class Scaled:
    """Features (N, D) as `scaling` makes them: kept where they are few, else made part by part as they are read."""

    def __init__(self, features: Features, scaling: Scaling) -> None:
        self._count, self.size = features.shape
        """N and D"""
        self._scaling = scaling
        self._small = 4 * self._count * self.size <= IN_MEMORY
        self._features: Features = scaling.apply(features[:]) if self._small else features

    def __len__(self) -> int:
        return self._count

    def parts(self) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """(rows, their scaled features), in order."""
        if self._small:
            yield slice(0, len(self)), np.asarray(self._features[:], dtype=np.float32)
            return
        for start in range(0, len(self), _PART):
            rows = slice(start, min(start + _PART, len(self)))
            yield rows, self._scaling.apply(self._features[rows])

    def logits(self, weight: NDArray[np.floating], bias: NDArray[np.floating]) -> NDArray[np.float32]:
        """(N, C) of a head for scaled features."""
        weight, bias = weight.astype(np.float32), bias.astype(np.float32)
        return np.concatenate([part @ weight.T + bias for _, part in self.parts()])


@dataclass(frozen=True)
class Fit:
    """Weights for scaled features."""

    weight: NDArray[np.float64]
    """(C, D); they sum to 0 over the classes, as those of the smallest penalty do."""
    bias: NDArray[np.float64]
    """(C,)"""

    @classmethod
    def start(cls, classes: int, size: int) -> Fit:
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

    `labels` (N,) are 0 to C - 1 and `counts` (N,) what each picture counts, 1 without it; the bias is not penalised. Of two
    classes only the difference is, as where one row of weights stands for both, so `c` means what it usually does. Runs on
    one thread, since BLAS threads spin against each other, and gives the same for the same arrays. A fit that stops at
    `ITERATIONS` is one more point of a path of penalties, judged on validation like the others.
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
            options={"maxiter": ITERATIONS, "gtol": _TOLERANCE, "ftol": 64 * np.finfo(np.float64).eps, "maxls": 50},
        ).x
    weight, bias = found[classes:].reshape(classes, size), found[:classes]
    return Fit(weight - weight.mean(axis=0), bias - bias.mean())
