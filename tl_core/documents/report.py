"""report.json: how good a run is, measured with the bundle's own answers to held-out images."""

from typing import Literal, Self

from pydantic import ConfigDict, Field, model_validator

from tl_core.documents.base import Document, Record
from tl_core.documents.manifest import Split


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


class Measured(Record):
    """A record with a number for each metric beside its fields, by the name of the row in `evaluation.metrics`."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    __pydantic_extra__: dict[str, float]

    def value(self, metric: str) -> float | None:
        """The metric of that name; None where it was not finite."""
        found: float | None = getattr(self, metric, None)
        return found


class ClassMetrics(Measured):
    """The metrics of one class."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int
    """Number of images of this class."""


HeadlineName = Literal["test", "cross_validated"]
"""Whose accuracy is said first. None in its place: no accuracy is to be believed, and `statements.record_again` is said."""
ENOUGH_TEST_IMAGES = 100
"""From so many test pictures on, their accuracy is the headline of a head that was fitted alone; below, the cross-validated one."""


class SplitMetrics(Measured):
    """The metrics of one set of labelled images."""

    images: int
    accuracy: float
    interval: tuple[float, float]
    """95 % interval of the accuracy, fractions: Wilson's score interval (Wilson 1927), or a bootstrap over groups where pictures
    form groups; wider where the answers are those of cross-validation (Nadeau and Bengio 2003).
    """
    macro_f1_interval: tuple[float, float]
    """95 % bootstrap interval of the macro F1, fractions."""
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Counts of answers; rows: true class, columns: predicted class, in class order."""


class Accuracy(Record):
    """How many of some pictures were answered rightly."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    images: int
    accuracy: float
    interval: tuple[float, float]
    """95 % interval of the accuracy, fractions."""


class Leak(Record):
    """Test pictures that show what was learned from as well."""

    images: int
    """How many they are."""
    without: Accuracy | None
    """How many of the other test pictures were answered rightly; None where there are no others."""


class Headline(Document):
    """The few numbers of report.json by which runs are listed: the rest of a report of many classes has megabytes."""

    model_config = ConfigDict(extra="ignore")

    test: Accuracy
    val: Accuracy
    val_alone: float | None = None
    cross_validated: Accuracy | None = None
    headline: HeadlineName | None = "test"
    one_moment: tuple[str, ...] = ()
    leak: Leak | None = None

    @property
    def shown(self) -> Accuracy | None:
        """The accuracy that is said first; None where `statements.record_again` is said of the classes of `one_moment`."""
        if self.headline is None:
            return None
        return self.cross_validated if self.headline == "cross_validated" and self.cross_validated else self.test


class ImageAnswer(Record):
    """The bundle's answer to one held-out image."""

    model_config = ConfigDict(allow_inf_nan=False)

    row: int = Field(ge=0)
    """Index of the image in the manifest."""
    truth: int = Field(ge=0)
    predicted: int = Field(ge=0)
    probability: float
    """Probability of the predicted class."""
    truth_probability: float


class StageMoved(Record):
    """How far training moved the weights of one stage from the pretrained ones."""

    name: str
    """The stage's name in the network."""
    distance: float
    """Euclidean length of the change, as a fraction of the length of the weights before."""
    parameters: int
    learned: bool
    """Whether any parameter of the stage was trainable."""


class Report(Document):
    """How good one run is: its metrics, its answers to the held-out images, and what moved."""

    classes: tuple[str, ...]
    images: dict[Split, int]
    """Images per split of this run."""
    refused_files: int
    measured_on: Split = "test"
    own_split: bool
    """Whether the held-out split was the user's own."""
    test: SplitMetrics
    val: SplitMetrics
    """Of the validation split. Where cross-validation chose the settings of the head: of the training and validation split, each
    picture answered by a head that had not seen it.
    """
    val_alone: float | None = None
    """Where cross-validation chose: the share of right answers of those heads to the validation split alone, on which runs are compared
    that were not chosen by it."""
    cross_validated: SplitMetrics | None = None
    """Of all pictures, by nested cross-validation: each answered once by a head that had not seen it, nor its group, and whose settings
    were chosen without it. None where more than a head was trained, where a class is of `one_moment`, and on a split of the user's own,
    whose test may come from elsewhere on purpose: heads that have learned from it would answer another question.
    """
    headline: HeadlineName | None = "test"
    """The figure that is said first: a head that is fitted alone with less than `ENOUGH_TEST_IMAGES` test pictures has the
    cross-validated one. None: no accuracy is to be believed, because classes are of `one_moment`.
    """
    one_moment: tuple[str, ...] = ()
    """Names of the classes that had to be learned from and judged by pictures that show the same thing, in class order."""
    leak: Leak | None = None
    """Where the user's own split, or one that was cut before, has test pictures whose group also has pictures in train or val; else
    None, and where a class is of `one_moment`."""
    answers: tuple[ImageAnswer, ...]
    """One for every image of the test split."""
    calibration: Calibration
    """The reliability of `answers`."""
    trainable_parameters: int
    total_parameters: int
    moved: tuple[StageMoved, ...] = ()
    """Stages from the stem up, without the head, which has no pretrained weights; empty where no stage was trained."""

    @model_validator(mode="after")
    def _is_about_its_classes(self) -> Self:
        count = len(self.classes)
        for found in (self.test, self.val, self.cross_validated):
            if found and ([len(row) for row in found.confusion] != [count] * count or len(found.per_class) != count):
                raise ValueError("its metrics are about other classes than it names")
        if any(answer.truth >= count or answer.predicted >= count for answer in self.answers):
            raise ValueError("an answer has a label that no class stands for")
        return self

    @property
    def shown(self) -> SplitMetrics | None:
        """The metrics whose accuracy is said first; None where `statements.record_again` is said of the classes of `one_moment`."""
        if self.headline is None:
            return None
        return self.cross_validated if self.headline == "cross_validated" and self.cross_validated else self.test

    @property
    def val_out_of_fold(self) -> bool:
        """Whether `val` is of the training and validation split, from cross-validation."""
        return self.val.images > self.images.get("val", 0)

    def mistakes(self) -> list[ImageAnswer]:
        """Wrong answers, those with the highest probability first."""
        wrong = [answer for answer in self.answers if answer.truth != answer.predicted]
        return sorted(wrong, key=lambda answer: -answer.probability)
