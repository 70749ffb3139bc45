"""Multinomial logistic regression with an L2 penalty: several heads at once, each on its own part of the images. Imports no torch.

scikit-learn has the same objective and finds the same heads, which a test checks. But its linear models, and SciPy's optimizers, take
longer to import than all fits on a few hundred images, and scikit-learn copies the features several times, which 50,000 images on
4 GB do not allow.

Features are seen along their principal axes. The penalty is the same in every direction, so a rotation does not change the heads; but
N images of D features have at most min(N, D) axes, and along them the curvature of the loss is almost diagonal, which saves half of the
iterations. Each pass over the features serves all heads.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

ITERATIONS = 100
"""Largest number of iterations for one penalty; enough from a warm start. Heads that stop there are judged like the others."""
IN_MEMORY = 256_000_000
"""Bytes of features whose values along the axes are kept in memory; of more, the features are read part by part in every pass."""
PART = 4_096
"""Images that are read at once."""
TOLERANCE = 1e-3
"""Largest entry of the gradient, in units in which the curvature is about 1, at which a fit ends."""
_TOGETHER = 200_000
"""The most weights that are fitted together: the optimizer keeps some thirty arrays of that many."""
_SCORES = 4_000_000
"""The most scores that are computed at once."""
_SMALLEST = 1e-10
"""Axes with less than this share of the largest variance are left out."""
_REMEMBERED = 10
"""Steps from which L-BFGS estimates the curvature."""
_NOISE = 1e-6
"""Relative error of a loss whose scores are computed in float32."""


class Features(Protocol):
    """Features (N, D) of images, read part by part; an array also is one."""

    def __len__(self) -> int: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    def __getitem__(self, rows: Any, /) -> NDArray[np.floating[Any]]: ...


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

    def __getitem__(self, rows: Any, /) -> NDArray[np.floating[Any]]:
        return np.asarray(self.features[self.rows[rows]])


class Rotated:
    """Features (N, D) along their R principal axes."""

    def __init__(self, features: Features) -> None:
        """Find the axes; `features` are read part by part, on one thread."""
        self._features = features
        count, self.size = features.shape
        """D"""
        parts = [slice(first, first + PART) for first in range(0, count, PART)]
        total = sum(features[part].sum(axis=0, dtype=np.float64) for part in parts)
        self.centre: NDArray[np.float32] = np.asarray(total / max(1, count), dtype=np.float32)
        """(D,)"""
        with threadpool_limits(1):
            if count <= self.size:
                centred = features[:].astype(np.float64) - self.centre
                squares, vectors = np.linalg.eigh(centred @ centred.T)
            else:
                centred_parts = (features[part].astype(np.float64) - self.centre for part in parts)
                squares, vectors = np.linalg.eigh(sum(part.T @ part for part in centred_parts))
            large = squares > _SMALLEST * max(squares[-1], np.finfo(np.float64).tiny)
            squares, vectors = squares[large], vectors[:, large]
            self.axes: NDArray[np.float32] = np.asarray(
                centred.T @ (vectors / np.sqrt(squares)) if count <= self.size else vectors, dtype=np.float32
            )
            """(D, R); the columns are orthonormal."""
            self.variances: NDArray[np.float64] = squares / count
            """(R,)"""
            self._turned: NDArray[np.float32] | None = None
            if 4 * count * self.size <= IN_MEMORY:
                self._turned = np.concatenate([self._centred(part) @ self.axes for part in parts])

    def __len__(self) -> int:
        return len(self._features)

    def values(self, rows: Any) -> NDArray[np.float32]:
        """What `inward` weights are multiplied with: the values of some images along the axes, or their features where these are many."""
        return self._centred(rows) if self._turned is None else self._turned[rows]

    def inward(self, weight: NDArray[np.floating]) -> NDArray[np.float32]:
        """Weights (K, R) for values along the axes as those for `values`: to turn these is less work than to turn many features."""
        narrow = weight.astype(np.float32)
        return narrow @ self.axes.T if self._turned is None else narrow

    def outward(self, slope: NDArray[np.floating]) -> NDArray[np.floating]:
        """The gradient (K, R) by weights along the axes, from that by `inward` weights."""
        return slope @ self.axes if self._turned is None else slope

    def logits(self, head: NDArray[np.floating], rows: NDArray[np.integer]) -> NDArray[np.float32]:
        """Logits (M, C) of the images `rows` by `head` (C, R + 1), a row of what `fit_heads` gives."""
        weight, bias = self.inward(head[:, :-1]), head[:, -1].astype(np.float32)
        starts = range(0, max(1, len(rows)), PART)
        return np.concatenate([self.values(rows[first : first + PART]) @ weight.T + bias for first in starts])

    def fold(self, head: NDArray[np.floating]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The weights (C, D) and bias (C,) for raw features that give the same logits as `head` (C, R + 1)."""
        weight = head[:, :-1] @ self.axes.T
        return weight.astype(np.float32), (head[:, -1] - weight @ self.centre).astype(np.float32)

    def _centred(self, rows: Any) -> NDArray[np.float32]:
        return np.asarray(self._features[rows] - self.centre, dtype=np.float32)


def no_heads(heads: int, classes: int, features: Rotated) -> NDArray[np.float64]:
    """Heads of zeros (B, C, R + 1)."""
    return np.zeros((heads, classes, len(features.variances) + 1))


def fit_heads(
    features: Rotated,
    labels: NDArray[np.integer],
    counts: NDArray[np.floating],
    *,
    c: float,
    start: NDArray[np.float64],
) -> NDArray[np.float64]:
    """For each row of `counts` (B, N) a head (C, R + 1), the bias last: (B, C, R + 1), as `start`.

    A head minimises the sum of `counts` times the log loss, plus half the squared weights over `c`, where the mean variance of the features
    of its own images (those of `counts` above 0) counts as 1, so that it knows nothing of images that it is judged by. The bias is not
    penalised, and weights sum to 0 over the classes, which is where the penalty is smallest. With two classes, only the difference of
    their weights is penalised, so that `c` means the same as in a model with one row of weights. `labels` (N,) are 0 to C - 1. Runs on one thread, since BLAS threads slow each other down here; the same arrays give the same heads, and
    each is the one that it would be without the others.
    """
    heads, classes, width = start.shape
    together = max(1, _TOGETHER // (classes * width))
    chunks = [slice(first, first + together) for first in range(0, heads, together)]
    with threadpool_limits(1):
        return np.concatenate([_fitted(features, labels, counts[some], c, start[some]) for some in chunks])


def _fitted(
    features: Rotated, labels: NDArray[np.integer], counts: NDArray[np.floating], c: float, start: NDArray[np.float64]
) -> NDArray[np.float64]:
    heads, classes, _ = start.shape
    totals = counts.sum(axis=1)
    shares = np.asarray(counts / totals[:, None], dtype=np.float32)
    strength = ((2.0 if classes == 2 else 1.0) / c * _mean_variances(features, counts > 0) / totals)[:, None, None]
    # In these units the curvature is about 1 where all classes are equally likely, and a step of gradient descent has the right length.
    curvature = (1 - 1 / classes) / classes
    along = np.maximum(curvature * features.variances + strength, np.finfo(np.float32).tiny)
    units = np.concatenate([along, np.full((heads, 1, 1), curvature)], axis=2) ** -0.5
    rows = min(PART, max(1, _SCORES // (heads * classes)))

    def losses(at: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The mean loss (B,) of heads in `units` (B, C, R + 1), and its gradient."""
        at = at * units
        weight, bias = features.inward(at[:, :, :-1].reshape(heads * classes, -1)), at[:, :, -1:].astype(np.float32)
        loss = 0.5 * strength[:, 0, 0] * np.square(at[:, :, :-1]).sum(axis=(1, 2))
        slope, bias_slope = np.zeros(weight.shape), np.zeros((heads, classes))
        for first in range(0, len(labels), rows):
            part = slice(first, first + rows)
            values, truth = features.values(part), labels[part]
            # Images last, so that NumPy goes along them in each sum over the classes.
            scores = (weight @ values.T).reshape(heads, classes, len(truth)) + bias
            scores -= scores.max(axis=1, keepdims=True)
            true = slice(None), truth, np.arange(len(truth))
            of_truth = scores[true]
            np.exp(scores, out=scores)
            sums = scores.sum(axis=1, keepdims=True)
            loss += ((np.log(sums[:, 0]) - of_truth) * shares[:, part]).sum(axis=1, dtype=np.float64)
            scores *= shares[:, None, part] / sums
            scores[true] -= shares[:, part]
            slope += scores.reshape(heads * classes, -1) @ values
            bias_slope += scores.sum(axis=2, dtype=np.float64)
        gradient = np.empty_like(at)
        gradient[:, :, :-1] = features.outward(slope).reshape(heads, classes, -1) + strength * at[:, :, :-1]
        gradient[:, :, -1] = bias_slope
        return loss, gradient * units

    found = _minimised(losses, start / units) * units
    return np.asarray(found - found.mean(axis=1, keepdims=True))


def _mean_variances(features: Rotated, used: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean variance (B,) of the raw features of the images that each row of `used` (B, N) marks; 1 where they are all alike."""
    shares = np.asarray(used / used.sum(axis=1, keepdims=True), dtype=np.float32)
    squares = means = np.zeros(1)
    for first in range(0, len(features), PART):
        part = slice(first, first + PART)
        values = features.values(part)
        squares = squares + shares[:, part] @ np.square(values).sum(axis=1)
        means = means + shares[:, part] @ values
    variances = (squares - np.square(means).sum(axis=1)) / features.size
    return np.where(variances > 0, variances, 1.0)


def _minimised(
    losses: Callable[[NDArray[np.float64]], tuple[NDArray[np.float64], NDArray[np.float64]]], at: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The places (B, ...) at which each of B convex functions is smallest, from `at` on: L-BFGS (Liu and Nocedal 1989) for each of them.

    `losses` gives the values (B,) and the gradients (B, ...).
    """

    def dot(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.einsum("bcr,bcr->b", one, other)[:, None, None])

    loss, slope = losses(at)
    steps: deque[tuple[NDArray[np.float64], ...]] = deque(maxlen=_REMEMBERED)
    for _ in range(ITERATIONS):
        going = np.abs(slope).max(axis=(1, 2)) > TOLERANCE
        if not going.any():
            break
        direction = -slope
        factors = []
        for step, turn, inverse in reversed(steps):
            factors.append(inverse * dot(step, direction))
            direction -= factors[-1] * turn
        if steps:
            step, turn, inverse = steps[-1]
            direction /= np.where(inverse > 0, inverse * dot(turn, turn), 1.0)
        for (step, turn, inverse), factor in zip(steps, reversed(factors), strict=True):
            direction += (factor - inverse * dot(turn, direction)) * step
        length = going[:, None, None].astype(np.float64)
        # Half as far wherever the function does not fall as its slope says, beyond what rounding explains.
        expected = 1e-4 * dot(slope, direction)
        for _ in range(20):
            new_loss, new_slope = losses(at + length * direction)
            far = new_loss > loss + (length * expected)[:, 0, 0] + _NOISE * np.abs(loss)
            if not far.any():
                break
            length[far] /= 2
        step, turn = length * direction, new_slope - slope
        bent = dot(step, turn)
        steps.append((step, turn, np.where(bent > 0, 1 / np.where(bent > 0, bent, 1.0), 0.0)))
        at, loss, slope = at + step, new_loss, new_slope
    return at
