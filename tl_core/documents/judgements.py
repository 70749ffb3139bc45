"""What evaluation says beside the report: suspect labels, slices, the learning curve, and which of two classifiers is better."""

from typing import Literal

from tl_core.documents.base import Record
from tl_core.documents.report import ImageAnswer


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
    """Name of the row of `evaluation.slices.KINDS`."""
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
    def both_wrong(self) -> int:
        """Pictures on which both are wrong, in different ways."""
        return self.differ - self.only_a - self.only_b

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
