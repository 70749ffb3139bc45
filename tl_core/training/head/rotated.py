"""Many logistic heads on the same features at once, each on its own part of the images. Imports no torch.

Features are rotated to their principal axes. The penalty of `logistic.fit` is the same in every direction, so that a rotation does not
change its solution; but N images of D features have at most min(N, D) axes, and along them the curvature of the loss is almost
diagonal, which saves half of the iterations. Several heads are one problem for L-BFGS, whose objective is the sum of theirs: the heads of
cross-validation are so much alike that they take hardly more iterations together than alone, and each pass over the features
serves all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl_core.training.head.logistic import ITERATIONS, PART, TOLERANCE, Features, Scaling

_TOGETHER = 200_000
"""The most weights that are fitted together: L-BFGS keeps twenty arrays of that many."""
_SCORES = 4_000_000
"""The most scores that are computed at once."""
_SMALLEST = 1e-10
"""Axes with less than this share of the largest variance are left out."""


@dataclass(frozen=True)
class Rotated:
    """Features (N, D), centred and turned to their R principal axes."""

    features: NDArray[np.float32]
    """(N, R)"""
    variances: NDArray[np.float64]
    """(R,)"""
    axes: NDArray[np.float64]
    """(D, R); its columns are orthonormal."""
    centre: NDArray[np.float32]
    """(D,)"""

    @classmethod
    def of(cls, features: Features) -> Rotated:
        """`features` (N, D), read part by part; the rotated ones must fit the memory. Runs on one thread."""
        from threadpoolctl import threadpool_limits

        count, size = features.shape
        centre = Scaling.of(features).centre

        def centred() -> Iterator[NDArray[np.float64]]:
            for first in range(0, count, PART):
                yield features[first : first + PART].astype(np.float64) - centre

        with threadpool_limits(1):
            if count <= size:
                raw = np.concatenate(list(centred()))
                squares, vectors = np.linalg.eigh(raw @ raw.T)
            else:
                squares, vectors = np.linalg.eigh(sum(part.T @ part for part in centred()))
            kept = squares > _SMALLEST * max(squares[-1], np.finfo(np.float64).tiny)
            squares, vectors = squares[kept], vectors[:, kept]
            axes = raw.T @ (vectors / np.sqrt(squares)) if count <= size else vectors
            rotated = np.concatenate([(part @ axes).astype(np.float32) for part in centred()])
        return cls(rotated, squares / count, axes, centre)

    def fold(
        self, weight: NDArray[np.floating], bias: NDArray[np.floating]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The weights (C, D) and bias (C,) for raw features that give the same logits as these for rotated ones, (C, R) and (C,)."""
        turned = weight @ self.axes.T
        return turned.astype(np.float32), (bias - turned @ self.centre.astype(np.float64)).astype(np.float32)


@dataclass(frozen=True)
class Heads:
    """B heads for rotated features."""

    weight: NDArray[np.float64]
    """(B, C, R); they sum to 0 over the classes, as in `logistic.Fit`."""
    bias: NDArray[np.float64]
    """(B, C)"""

    @classmethod
    def start(cls, heads: int, classes: int, size: int) -> Heads:
        """Weights of zeros."""
        return cls(np.zeros((heads, classes, size)), np.zeros((heads, classes)))

    def some(self, heads: slice) -> Heads:
        """Those at the places `heads`."""
        return Heads(self.weight[heads], self.bias[heads])

    @classmethod
    def joined(cls, parts: Sequence[Heads]) -> Heads:
        """The heads of all `parts`, in order."""
        return cls(np.concatenate([part.weight for part in parts]), np.concatenate([part.bias for part in parts]))

    def logits(self, head: int, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Logits (M, C) of one head for rotated `features` (M, R)."""
        return np.asarray(features @ self.weight[head].T.astype(np.float32) + self.bias[head].astype(np.float32))


def fit_heads(
    features: Rotated, labels: NDArray[np.integer], counts: NDArray[np.floating], *, c: float, start: Heads
) -> Heads:
    """For each row of `counts` (B, N) the head that `logistic.fit` finds on the images whose entry is not 0.

    `labels` (N,) are 0 to C - 1. An entry of `counts` is the weight of an image in the loss. As there, `c` is the inverse strength of the
    penalty where the features of the head's own images have a mean variance of 1. Runs on one thread.
    """
    import scipy.optimize  # noqa: F401 - only a BLAS that is loaded by now is limited
    from threadpoolctl import threadpool_limits

    heads, classes, size = start.weight.shape
    together = max(1, _TOGETHER // (classes * (size + 1)))
    places = [slice(first, first + together) for first in range(0, heads, together)]
    with threadpool_limits(1):
        return Heads.joined(
            [_fit_together(features, labels, counts[some], c=c, start=start.some(some)) for some in places]
        )


def _fit_together(
    features: Rotated, labels: NDArray[np.integer], counts: NDArray[np.floating], *, c: float, start: Heads
) -> Heads:
    from scipy.optimize import minimize

    heads, classes, size = start.weight.shape
    shares = counts / counts.sum(axis=1, keepdims=True)
    strength = (2.0 if classes == 2 else 1.0) / c * _mean_variances(features, counts > 0) / counts.sum(axis=1)
    curvature = (1 - 1 / classes) / classes
    unit = 1 / np.sqrt(curvature * features.variances + np.maximum(strength, np.finfo(np.float32).tiny)[:, None])
    units = np.concatenate(
        [np.broadcast_to(unit[:, None, :], start.weight.shape), np.full((heads, classes, 1), curvature**-0.5)], axis=2
    )
    weight_of = np.asarray(shares[:, None, :], dtype=np.float32)
    rows = max(1, _SCORES // (heads * classes))

    def mean_losses(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        at = flat.reshape(units.shape) * units
        weight = at[:, :, :size]
        narrow = weight.reshape(heads * classes, size).astype(np.float32)
        bias = at[:, :, size:].astype(np.float32)
        gradient = np.zeros_like(at)
        gradient[:, :, :size] = strength[:, None, None] * weight
        loss = 0.5 * float(np.vdot(gradient[:, :, :size], weight))
        for first in range(0, len(labels), rows):
            part = slice(first, first + rows)
            inputs, truth = features.features[part], labels[part]
            # Images last, so that NumPy goes along them in each sum over the classes.
            scores = (narrow @ inputs.T).reshape(heads, classes, len(truth))
            scores += bias
            scores -= scores.max(axis=1, keepdims=True)
            each = slice(None), truth, np.arange(len(truth))
            of_truth = scores[each]
            np.exp(scores, out=scores)
            sums = scores.sum(axis=1, keepdims=True)
            loss += float(((np.log(sums[:, 0]) - of_truth) * weight_of[:, 0, part]).sum(dtype=np.float64))
            scores *= weight_of[:, :, part] / sums
            scores[each] -= weight_of[:, 0, part]
            gradient[:, :, :size] += (scores.reshape(heads * classes, -1) @ inputs).reshape(weight.shape)
            gradient[:, :, size] += scores.sum(axis=2, dtype=np.float64)
        gradient *= units
        return loss, gradient.ravel()

    found = minimize(
        mean_losses,
        (np.concatenate([start.weight, start.bias[:, :, None]], axis=2) / units).ravel(),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": ITERATIONS, "gtol": TOLERANCE, "ftol": 64 * np.finfo(np.float64).eps, "maxls": 50},
    ).x
    found = found.reshape(units.shape) * units
    found -= found.mean(axis=1, keepdims=True)
    return Heads(found[:, :, :size], found[:, :, size])


def _mean_variances(features: Rotated, used: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean variance (B,) of the raw features of the images that each of `used` (B, N) marks; 1 where there is none."""
    inside = used.astype(np.float32)
    many = inside.sum(axis=1, dtype=np.float64)
    squares = inside @ np.square(features.features).sum(axis=1) / many
    means = (inside @ features.features) / many[:, None]
    found = np.maximum(squares - np.square(means).sum(axis=1), 0) / len(features.axes)
    return np.where(found > 0, found, 1.0)
