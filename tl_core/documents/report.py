"""How good a run is, measured on held-out images by the bundle's own answers. Knows no network."""

from __future__ import annotations

from tl_core.documents.base import Document, Record
from tl_core.documents.manifest import Split


class ClassMetrics(Record):
    name: str
    precision: float
    recall: float
    f1: float
    support: int


class SplitMetrics(Record):
    """Metrics on one set of labelled images."""

    images: int
    accuracy: float
    interval: tuple[float, float]
    """95 % Wilson score interval of the accuracy (Wilson 1927)."""
    macro_f1: float
    log_loss: float
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Rows: true class, columns: predicted class, in class order; counts."""


class Answer(Record):
    """What the bundle said of one held-out image."""

    row: int
    """Of the manifest."""
    truth: int
    predicted: int
    probability: float
    """Of the predicted class."""
    truth_probability: float


class StageMoved(Record):
    """How far training took one stage from its pretrained weights."""

    name: str
    """Of the stage."""
    distance: float
    """Euclidean length of the change, as a fraction of the length of the weights before."""
    parameters: int
    learned: bool
    """Whether any of it was trainable."""


class Report(Document):
    classes: tuple[str, ...]
    images: dict[Split, int]
    """Images per split of this run."""
    refused_files: int
    measured_on: Split = "test"
    own_split: bool
    """Whether the held-out split was the user's own."""
    test: SplitMetrics
    val: SplitMetrics
    answers: tuple[Answer, ...]
    """Of every image of the test split."""
    trainable_parameters: int
    total_parameters: int
    moved: tuple[StageMoved, ...] = ()
    """Stages from the stem up, without the head (a new one has nothing to be compared with); empty where none learned."""

    def mistakes(self) -> list[Answer]:
        """Wrong answers, the surest first."""
        wrong = [answer for answer in self.answers if answer.truth != answer.predicted]
        return sorted(wrong, key=lambda answer: -answer.probability)
