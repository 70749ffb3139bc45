"""Whether probabilities mean what they say, and how accurate answers are when the unsure ones are withheld.

Both are computed from the probability of each predicted class and whether the answer is right, so they also serve reports that keep no
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

    Raises:
        ValueError: shapes that do not fit.
    """
    if probabilities.ndim != 2 or truth.shape != probabilities.shape[:1]:
        raise ValueError(f"Probabilities {probabilities.shape} do not fit labels {truth.shape}.")
    return probabilities.max(axis=1).astype(np.float64), probabilities.argmax(axis=1) == truth


def reliability(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> Reliability:
    """The reliability diagram and the expected calibration error of answers.

    `confidence` (N,) is the probability of each predicted class, `right` (N,) whether the answer is right. The expected calibration error
    is that of Guo et al. 2017, over bins of equally many answers (Nixon et al. 2019), since bins of equal width leave most of them
    empty where a classifier is sure: one bin for `BIN_IMAGES` answers, at most `MOST_BINS`.

    Raises:
        ValueError: shapes that do not fit.
    """
    _check(confidence, right)
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


def selective_answers(
    confidence: NDArray[np.floating], right: NDArray[np.bool_], *, threshold: float
) -> SelectiveAnswers:
    """How many answers are given, and how many of those are right, if only those of `threshold` or more confidence are given.

    `confidence` (N,) is the probability of each predicted class, `right` (N,) whether the answer is right (selective classification,
    Geifman and El-Yaniv 2017).

    Raises:
        ValueError: shapes that do not fit.
    """
    _check(confidence, right)
    given = confidence >= threshold
    images, answered, correct = len(given), int(given.sum()), int((given & right).sum())
    return SelectiveAnswers(
        threshold=threshold,
        images=images,
        answered=answered,
        right=correct,
        coverage_interval=wilson_interval(answered, images),
        accuracy_interval=wilson_interval(correct, answered),
    )


def withheld(answers: Sequence[ImageAnswer], threshold: float) -> SelectiveAnswers:
    """What is left of `answers` if those below `threshold` are withheld."""
    confidence = np.array([answer.probability for answer in answers])
    right = np.array([answer.predicted == answer.truth for answer in answers], dtype=bool)
    return selective_answers(confidence, right, threshold=threshold)


def _check(confidence: NDArray[np.floating], right: NDArray[np.bool_]) -> None:
    if confidence.ndim != 1 or confidence.shape != right.shape:
        raise ValueError(f"Confidences {confidence.shape} do not fit the {right.shape} answers.")
