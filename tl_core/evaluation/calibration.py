"""Whether probabilities mean what they say, the temperature that makes them do so, and how accurate answers are when the unsure ones are
withheld. Imports no torch.

The first and the last are computed from the probability of each predicted class and whether the answer is right, so they also serve reports that keep no
other probabilities.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.report import ImageAnswer, Reliability, ReliabilityBin, SelectiveAnswers
from tl_core.evaluation.intervals import wilson_interval

MOST_BINS = 10
BIN_IMAGES = 20
"""Images that a bin should have: with fewer, chance alone puts its accuracy far from its confidence."""


def top_label(
    probabilities: NDArray[np.floating], truth: NDArray[np.integer]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Of `probabilities` (N, C) against `truth` (N,): the confidence of each answer (N,), and whether it is right (N,).

    The confidence is the probability of the predicted class.
    """
    return probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == truth


def reliability(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> Reliability:
    """The reliability diagram and the expected calibration error of answers.

    `confidence` (N,) is the probability of each predicted class, `right` (N,) whether the answer is right. The expected calibration error
    is that of Guo et al. 2017, over bins of equally many answers (Nixon et al. 2019), since bins of equal width leave most of them
    empty where a classifier is sure: one bin for `BIN_IMAGES` answers, at most `MOST_BINS`.
    """
    images = len(confidence)
    if not images:
        return Reliability(bins=(), ece=0.0)
    order = np.argsort(confidence, kind="stable")
    bins, distance = [], 0.0
    for rows in np.array_split(order, min(MOST_BINS, max(1, images // BIN_IMAGES))):
        correct, mean = int(right[rows].sum()), float(confidence[rows].mean())
        bins.append(
            ReliabilityBin(
                images=len(rows),
                confidence=mean,
                accuracy=correct / len(rows),
                interval=wilson_interval(correct, len(rows)),
            )
        )
        distance += abs(correct - mean * len(rows))
    return Reliability(bins=tuple(bins), ece=distance / images)


def withheld(answers: Sequence[ImageAnswer], threshold: float) -> SelectiveAnswers:
    """How many of `answers` are given, and how many of those are right, if those of less than `threshold` confidence are withheld (selective
    classification, Geifman and El-Yaniv 2017)."""
    sure = [answer for answer in answers if answer.probability >= threshold]
    right = sum(answer.predicted == answer.truth for answer in sure)
    return SelectiveAnswers(
        threshold=threshold,
        images=len(answers),
        answered=len(sure),
        right=right,
        coverage_interval=wilson_interval(len(sure), len(answers)),
        accuracy_interval=wilson_interval(right, len(sure)),
    )


HOTTEST = 10.0
"""The temperature lies between this and one divided by this."""
_HALVINGS = 17
"""Of the range of the temperature's logarithm: to less than 1e-4."""
_SLOPE = 2.576
"""Standard errors that a normal variable of mean 0 exceeds in 1 % of cases."""
_SMALLEST = 1e-12


def temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The number by which logits (M, C) are divided for calibrated probabilities (temperature scaling, Guo et al. 2017).

    It minimises the log loss for `labels` (M,). One additional image that belongs evenly to all classes is assumed, so that a few
    correct answers do not make the model certain of everything. Between 0.1 and 10; 1 without images.
    """
    if len(labels) == 0:
        return 1.0
    coldest, hottest = -np.log(HOTTEST), np.log(HOTTEST)
    for _ in range(_HALVINGS):
        middle = (coldest + hottest) / 2
        # The loss is convex in the inverse of the temperature, and falls towards a larger inverse where this is positive.
        if _slopes(logits, labels, np.exp(-middle)).sum() > 0:
            hottest = middle
        else:
            coldest = middle
    return float(np.exp((coldest + hottest) / 2))


def significant_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The `temperature` of out-of-fold `logits` (M, C) whose log loss has chosen the penalty, and with it how sure answers are.

    Such answers are calibrated as well as so many pictures can tell, and the best temperature differs from 1 mostly by chance: it is 1
    unless the slope of the loss there is not 0 at a confidence of 99 % (score test, Rao 1948).
    """
    slopes = _slopes(logits, labels, 1.0)
    if abs(slopes.sum()) <= _SLOPE * np.linalg.norm(slopes):
        return 1.0
    return temperature(logits, labels)


def _slopes(logits: NDArray[np.floating], labels: NDArray[np.integer], inverse: float) -> NDArray[np.float64]:
    """How fast the log likelihood of each image (M,) rises with the `inverse` of the temperature.

    The true probabilities hold a share of one more image that belongs evenly to all classes.
    """
    scores = np.asarray(logits, dtype=np.float64)
    images, classes = scores.shape
    truth = np.full((images, classes), 1.0 / classes / (images + 1))
    truth[np.arange(images), labels] += images / (images + 1)
    return np.asarray(((truth - np.exp(log_softmax(scores * inverse))) * scores).sum(axis=1))


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
