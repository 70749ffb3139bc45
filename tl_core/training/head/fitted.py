"""The fitted head of a frozen backbone: multinomial logistic regression on its features. Imports no torch.

Features are centred and divided by one common scale. Both are computed from the training rows and folded into the weights, so
that the head takes raw features. Fits follow a path from the strongest penalty to weaker ones, each started from the one before.
The validation log loss decides, with ties broken by accuracy, which alone is too coarse with few images.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.events import Event, RegularisationTried
from tl_core.training.head.logistic import Features, Fit, Scaled, Scaling, fit

PATH: tuple[float, ...] = tuple(10.0 ** (half / 2) for half in range(-9, 3))
"""Values of C, the inverse strength of the penalty, in the order in which they are tried."""
PATIENCE = 2
"""The path ends after so many values of C in succession without a better validation loss."""

_SMALLEST = 1e-12


@dataclass(frozen=True)
class Head:
    """A linear classifier on raw features."""

    weight: NDArray[np.float32]
    """(C, D)"""
    bias: NDArray[np.float32]
    """(C,)"""
    c: float | None
    """Inverse strength of the chosen penalty; None for a head that was trained by gradient steps."""
    val_accuracy: float
    val_loss: float

    def logits(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Scores (N, C) of `features` (N, D), before any temperature."""
        return np.asarray(features @ self.weight.T + self.bias, dtype=np.float32)


def check_rows(
    train_x: Features,
    train_y: NDArray[np.integer],
    val_x: Features,
    val_y: NDArray[np.integer],
    classes: int,
) -> None:
    """Check the arrays of a fit.

    Raises:
        ValueError: shapes do not fit, there are no validation rows, or a class has no training row.
    """
    present = np.unique(train_y)
    if len(present) != classes or present[0] != 0 or present[-1] != classes - 1 or classes < 2:
        raise ValueError(f"Training rows hold {len(present)} of {classes} classes; each of at least two must occur.")
    if len(train_x) != len(train_y) or len(val_x) != len(val_y) or len(val_y) == 0:
        raise ValueError("Features and labels must be equally many, and there must be validation rows.")


def fit_logistic(
    train_x: Features,
    train_y: NDArray[np.integer],
    val_x: Features,
    val_y: NDArray[np.integer],
    *,
    classes: int,
    balanced: bool = False,
) -> Generator[Event, None, Head]:
    """Fit heads along the path of penalties and return the one with the lowest validation loss.

    `train_x` (N, D) and `val_x` (M, D) are features, `train_y` and `val_y` labels from 0 to `classes` - 1. Every class must
    occur in `train_y`; `val_y` may lack some. Yields one `RegularisationTried` for each fit. The same arrays give the same head: it
    starts from zeros and is fitted on one thread. `balanced`: rare classes have larger weights, so that all classes count alike.

    Raises:
        ValueError: shapes do not fit, there are no validation rows, or a class has no training row.
    """
    check_rows(train_x, train_y, val_x, val_y, classes)
    scaling = Scaling.of(train_x)
    train, val = Scaled(train_x, scaling), Scaled(val_x, scaling)
    counts = class_weights(train_y)[train_y] if balanced else None
    found = Fit.start(classes, train.size)
    best: Head | None = None
    worse = 0
    for c in PATH:
        found = fit(train, train_y, c=c, start=found, counts=counts)
        train_accuracy, _ = accuracy_and_loss(train.logits(found.weight, found.bias), train_y)
        accuracy, loss = accuracy_and_loss(val.logits(found.weight, found.bias), val_y)
        improved = best is None or (loss, -accuracy) < (best.val_loss, -best.val_accuracy)
        if improved:
            best = Head(*scaling.fold(found.weight, found.bias), c=c, val_accuracy=accuracy, val_loss=loss)
        worse = 0 if improved else worse + 1
        yield RegularisationTried(
            c=c, train_accuracy=train_accuracy, val_accuracy=accuracy, val_loss=loss, best=improved
        )
        if worse >= PATIENCE:
            break
    assert best is not None
    return best


def class_weights(labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Weight of each class (C,) in the loss with which all classes count alike; the mean over `labels` (N,) is 1."""
    counts = np.bincount(labels)
    return np.asarray(len(labels) / (len(counts) * np.maximum(counts, 1)))


def temperature(val_logits: NDArray[np.floating], val_y: NDArray[np.integer]) -> float:
    """The number by which logits (M, C) are divided for calibrated probabilities (temperature scaling, Guo et al. 2017).

    It minimises the validation log loss. One additional image that belongs evenly to all classes is assumed, so that a few
    correct answers do not make the model certain of everything. Between 0.1 and 10; 1 without validation rows.
    """
    if len(val_y) == 0:
        return 1.0
    from scipy.optimize import minimize_scalar

    logits = np.asarray(val_logits, dtype=np.float64)
    targets = _targets(logits, val_y)

    def loss(log_temperature: float) -> float:
        return float(-(targets * log_softmax(logits / np.exp(log_temperature))).sum(axis=1).mean())

    found = minimize_scalar(loss, bounds=(np.log(0.1), np.log(10.0)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def significant_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The `temperature` of out-of-fold `logits` (M, C) whose log loss has chosen the penalty, and with it how sure answers are.

    Such answers are calibrated as well as so many pictures can tell, and the best temperature differs from 1 mostly by chance: it is 1
    unless the slope of the loss there is not 0 at a confidence of 99 % (score test, Rao 1948).
    """
    if len(labels) == 0:
        return 1.0
    scores = np.asarray(logits, dtype=np.float64)
    slopes = ((_targets(scores, labels) - np.exp(log_softmax(scores))) * scores).sum(axis=1)
    if abs(slopes.sum()) <= _SLOPE * np.linalg.norm(slopes):
        return 1.0
    return temperature(logits, labels)


_SLOPE = 2.576
"""Standard errors that a normal variable of mean 0 exceeds in 1 % of cases."""


def _targets(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """The probabilities (M, C) that `logits` (M, C) should give, with a share of one more image that belongs evenly to all classes."""
    images, classes = logits.shape
    targets = np.full((images, classes), 1.0 / classes / (images + 1))
    targets[np.arange(images), labels] += images / (images + 1)
    return targets


def calibrated_loss(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean log loss of `logits` (M, C) after their best `temperature`, which a bundle made of them would have.

    Infinite where a logit is not finite.
    """
    if not np.isfinite(logits).all():
        return float("inf")
    return accuracy_and_loss(logits / temperature(logits, labels), labels)[1]


def accuracy_and_loss(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> tuple[float, float]:
    """Accuracy and mean log loss of `logits` (M, C) for `labels` (M,)."""
    accuracy = float((logits.argmax(axis=1) == labels).mean())
    of_truth = log_softmax(logits)[np.arange(len(labels)), labels]
    return accuracy, float(-np.maximum(of_truth, np.log(_SMALLEST)).mean())


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Log probabilities (N, C) of `logits` (N, C)."""
    shifted = np.asarray(logits - logits.max(axis=1, keepdims=True), dtype=np.float64)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))
