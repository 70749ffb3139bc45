"""How far the probabilities of answers can be believed: reliability, and what is left when unsure answers are withheld."""

from __future__ import annotations

from tl_core.documents.base import Record


class ReliabilityBin(Record):
    """Answers of similar confidence, and how many of them are right."""

    images: int
    confidence: float
    """Mean probability of the predicted class."""
    accuracy: float
    """Share of the answers that are right."""
    interval: tuple[float, float]
    """95 % Wilson score interval of the accuracy, fractions."""


class Reliability(Record):
    """Confidence against accuracy (a reliability diagram), and their mean distance."""

    bins: tuple[ReliabilityBin, ...]
    """Bins of equally many answers, the lowest confidence first; empty without images."""
    ece: float
    """Expected calibration error: the mean of |confidence - accuracy| over the bins, weighted by their images; 0 without images."""


class Calibration(Record):
    """The reliability of the same answers before and after their probabilities were scaled by the temperature."""

    before: Reliability
    after: Reliability


class SelectiveAnswers(Record):
    """What is left when answers below a probability are withheld."""

    threshold: float
    """The smallest probability of the predicted class with which an answer is given."""
    images: int
    """All images, answered or not."""
    answered: int
    right: int
    """Number of given answers that are right."""
    coverage_interval: tuple[float, float]
    """95 % Wilson score interval of the share of images that are answered, fractions."""
    accuracy_interval: tuple[float, float]
    """95 % Wilson score interval of the share of given answers that are right, fractions; (0, 1) where none is given."""

    @property
    def coverage(self) -> float:
        """Share of the images that are answered; 0 without images."""
        return self.answered / self.images if self.images else 0.0

    @property
    def accuracy(self) -> float | None:
        """Share of the given answers that are right; None where none is given."""
        return self.right / self.answered if self.answered else None
