"""What is found of a run: report.json, measured with the bundle's own answers to held-out images; suspect labels, slices and the learning
curve; which of two classifiers is better; and how the runs of a race stand.
"""

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
        number: float | None = getattr(self, metric, None)
        return number


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


class Accuracy(Record):
    """How many of some pictures were answered rightly."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    images: int
    accuracy: float
    interval: tuple[float, float]
    """95 % interval of the accuracy, fractions: Wilson's score interval (Wilson 1927), or a bootstrap over groups where pictures
    form groups; wider where the answers are those of cross-validation (Nadeau and Bengio 2003).
    """


class SplitMetrics(Accuracy, Measured):
    """The metrics of one set of labelled images."""

    macro_f1_interval: tuple[float, float]
    """95 % bootstrap interval of the macro F1, fractions."""
    per_class: tuple[ClassMetrics, ...]
    confusion: tuple[tuple[int, ...], ...]
    """Counts of answers; rows: true class, columns: predicted class, in class order."""


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
    """Of the validation split. Where cross-validation chose the settings of the head: of the training and validation split, each
    picture answered by a head that had not seen it.
    """
    val_alone: float | None = None
    """Where cross-validation chose: the share of right answers of those heads to the validation split alone, on which runs are compared
    that were not chosen by it."""
    cross_validated: Accuracy | None = None
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


class Report(Headline):
    """How good one run is: its metrics, its answers to the held-out images, and what moved."""

    model_config = ConfigDict(extra="forbid")

    classes: tuple[str, ...]
    images: dict[Split, int]
    """Images per split of this run."""
    refused_files: int
    own_split: bool
    """Whether the held-out split was the user's own."""
    test: SplitMetrics
    val: SplitMetrics
    cross_validated: SplitMetrics | None = None
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
        for metrics in (self.test, self.val, self.cross_validated):
            if metrics and (
                [len(row) for row in metrics.confusion] != [count] * count or len(metrics.per_class) != count
            ):
                raise ValueError("its metrics are about other classes than it names")
        if any(answer.truth >= count or answer.predicted >= count for answer in self.answers):
            raise ValueError("an answer has a label that no class stands for")
        return self

    @property
    def val_out_of_fold(self) -> bool:
        """Whether `val` is of the training and validation split, from cross-validation."""
        return self.val.images > self.images.get("val", 0)

    def mistakes(self) -> list[ImageAnswer]:
        """Wrong answers, those with the highest probability first."""
        wrong = [answer for answer in self.answers if answer.truth != answer.predicted]
        return sorted(wrong, key=lambda answer: -answer.probability)


class SuspectLabel(Record):
    """One picture with a label that is probably wrong."""

    row: int
    """Index of the picture in the arrays that were given."""
    label: int
    """Index of the class that it has."""
    suggested: int
    """Index of the likeliest class by the answer to it."""
    label_probability: float
    """Probability of its label."""
    suggested_probability: float


class Lookalikes(Record):
    """The pictures that look most like one with a suspect label, the nearest first, as rows like its own."""

    of_label: tuple[int, ...]
    """Those that have the same label."""
    of_suggested: tuple[int, ...]
    """Those of the class that the answer suggests."""


SIGNIFICANT = 0.05
"""Corrected p-value up to which a slice is a finding."""

JudgedBy = Literal["cross_validated", "test"]


class Slice(Record):
    """Some pictures that have something in common, against all others."""

    kind: str
    """Name of the row of `evaluation.slice_search.KINDS`."""
    name: str
    """What the pictures are, in plain words, for example `dark pictures`; a name that the user typed stands in it as it is."""
    detail: str
    """What decides whether a picture is one of them, or what most of them have in common; may be empty."""
    images: int
    errors: int
    accuracy: float
    interval: tuple[float, float]
    """95 % interval of `accuracy`, fractions, as that of the report."""
    elsewhere: float
    """Accuracy on all other pictures."""
    p_value: float
    """Probability that chance alone gives any of the slices that were looked at a difference as striking as that of this one."""
    answers: tuple[ImageAnswer, ...] = ()
    """The answers to its pictures, wrong ones first, then those nearest to the middle of a cluster; empty unless it is a finding."""

    @property
    def found(self) -> bool:
        """Whether it is a finding: the run errs more on it than elsewhere, and chance does not explain it."""
        return self.p_value <= SIGNIFICANT and self.accuracy < self.elsewhere


class Growth(Record):
    """A learning curve, and the accuracy that it promises with twice as many pictures."""

    sizes: tuple[float, ...]
    """How many pictures the heads of each point learned from, rising; the last ones learned from all that cross-validation leaves them."""
    accuracies: tuple[float, ...]
    """Their accuracy on pictures that they had not seen."""
    twice: float
    """The accuracy that is expected with twice as many pictures of every class."""
    interval: tuple[float, float]
    """95 % interval of the accuracy that would be measured then, on twice as many pictures."""
    photograph: int | None
    """Index of the class whose mistakes would become fewer by the largest number; None where no class stands out."""


Verdict = Literal["better", "worse", "cannot_tell"]
"""Of the second classifier, B, against the first, A."""


class Comparison(Record):
    """Two classifiers, A and B, on the same pictures."""

    verdict: Verdict
    p_value: float
    """How often a difference at least as large would come by chance if the two were equally good, two-sided; of several pairs, corrected."""
    images: int
    """Pictures that both were judged on."""
    groups: int
    """How many groups these form, which the test counts: pictures of one group show the same thing. Equal to `images` where each is alone."""
    differ: int
    """Pictures on which the answers differ: those that one of the two names rightly, and those on which both are wrong in different ways.
    The test knows only the former, `only_a` and `only_b`, since being wrong in another way is neither better nor worse."""
    only_a: int
    """Pictures that A alone names rightly."""
    only_b: int
    """Pictures that B alone names rightly."""
    difference: float
    """Accuracy of B minus that of A, a fraction."""
    interval: tuple[float, float]
    """95 % interval of `difference`. Where few answers differ it may leave out 0 although the exact test, which decides, cannot tell."""
    images_needed: int | None
    """Test pictures with which such a difference would be found in four of five cases, if the shares of the pictures that only A and only B name rightly
    stay as observed. None where the verdict stands, and where both are right equally often."""

    @property
    def said(self) -> str:
        """The verdict in words: `better`, `worse`, or `cannot tell with 90 pictures; about 400 would`."""
        if self.verdict != "cannot_tell":
            return self.verdict
        pictures = f"{self.images:,} {'picture' if self.images == 1 else 'pictures'}"
        if self.images_needed is None:
            return f"cannot tell with {pictures}; both are right equally often"
        return f"cannot tell with {pictures}; about {_rounded_up(self.images_needed):,} would"


def _rounded_up(number: int) -> int:
    """To two digits, since a number of pictures that are needed is an estimate."""
    step = int(10 ** max(0, len(str(number)) - 2))
    return -(-number // step) * step


class ComparedRun(Record):
    """One of the runs that are compared: what it reached on the pictures that all were judged on, and what it cost."""

    run_dir: str
    name: str
    """Display text."""
    accuracy: float
    interval: tuple[float, float]
    """95 % interval of the accuracy, fractions; a bootstrap over groups where pictures form groups."""
    seconds: float | None
    """Seconds that the run took in all, without waiting; what the cache already held took none."""
    megabytes: float | None
    """Size of its bundle, in millions of bytes; None where the bundle is gone."""


ContestantState = Literal[
    "waiting", "running", "done", "stopped", "not_begun", "cancelled", "failed", "interrupted", "deleted"
]
"""`stopped`: the race ended it, because it could not win any more or because the time was up before it had learned anything.
`not_begun`: the time was up before its turn came."""


class Standing(Record):
    """One row of the leaderboard."""

    run: str
    """Id of the run."""
    backbone: str
    strategy: str
    """The row of the table of strategies; until the run has found it, `default` or `auto`."""
    state: ContestantState = "waiting"
    reason: str | None = None
    """Why it is in that state, a sentence, where that is not the usual end."""
    epochs: int | None = None
    """Epochs that were trained; None where it takes no gradient steps, or none so far."""
    planned_epochs: int | None = None
    val_accuracy: float | None = None
    """Accuracy on the validation pictures, a fraction: of the best epoch so far; once it is done, of the state that it delivers. Where
    cross-validation chose a head's settings, the validation pictures were answered by heads that had not seen them."""
    val_interval: tuple[float, float] | None = None
    """95 % interval of `val_accuracy`, Wilson's. Pictures that show the same thing count as one."""
    test_accuracy: float | None = None
    """Accuracy on the test pictures; None until it is done, or where the class of one moment leaves no accuracy to believe."""
    test_interval: tuple[float, float] | None = None
    """95 % interval of `test_accuracy`, as in the run's report."""
    seconds: float | None = None
    """Seconds at work."""
    expected_seconds: float | None = None
    """Seconds that it was expected to take when it was last estimated; None where it is not known."""


class Leaderboard(Record):
    """How a race stands. Rows with a validation accuracy come first, the best one at the top."""

    budget: float
    """Seconds."""
    spent: float
    """Seconds since the turn of the race came."""
    val_images: int
    """Validation pictures, as in `RaceSpec`."""
    test_images: int
    """Test pictures, as in `RaceSpec`."""
    rows: tuple[Standing, ...]
