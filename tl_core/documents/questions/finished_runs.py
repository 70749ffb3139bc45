"""Questions about a finished run: where it fails, when it breaks, and why it says so."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tl_core.documents.base import Record
from tl_core.documents.judgements import JudgedBy, Slice
from tl_core.documents.questions.question import Answer, Handling, RunQuestion
from tl_core.documents.report import Accuracy


class RunSlices(Answer):
    """On which of its pictures a run errs more than elsewhere."""

    judged_by: JudgedBy
    """Whose answers are judged: those of nested cross-validation to all pictures, or those of the bundle to the test pictures."""
    images: int
    """Number of judged pictures."""
    accuracy: float
    """Of all of them."""
    slices: tuple[Slice, ...]
    """Every slice that was looked at, the one that chance explains least first."""

    @property
    def findings(self) -> tuple[Slice, ...]:
        """The slices on which it errs more than chance explains. Of those of one kind with mostly the same pictures, the first."""
        kept: list[Slice] = []
        for one in self.slices:
            rows = {answer.row for answer in one.answers}
            if one.found and not any(
                other.kind == one.kind
                and 2 * len(rows & {answer.row for answer in other.answers}) >= min(one.images, other.images)
                for other in kept
            ):
                kept.append(one)
        return tuple(kept)


class SlicesSpec(RunQuestion):
    """On which of its pictures does a run fail?"""

    answer = RunSlices
    job: Literal["slices"] = "slices"

    @property
    def handling(self) -> Handling:
        return Handling("Looking where it fails", about=self.about())


class Corrupted(Record):
    """How many of the test pictures were answered rightly after a corruption at one strength."""

    strength: str
    """The strength in words, with its unit: "JPEG quality 20"."""
    accuracy: float
    interval: tuple[float, float]
    """95 % interval of `accuracy`, fractions; over groups where pictures form groups."""
    drop: float
    """The accuracy without the corruption minus `accuracy`, fractions; below 0 where more were answered rightly."""


class Effect(Record):
    """What one corruption does to the answers."""

    corruption: str
    """Name of the row in `evaluation.corruptions`."""
    strengths: tuple[Corrupted, ...]
    """The weakest first."""
    p_value: float
    """Of the drop at the strongest: that of the exact paired test, corrected for the number of corruptions (Holm 1979)."""
    example: int
    """A picture, as a row of the manifest: the first that is answered rightly as it is, and wrongly at the weakest strength that changes any
    answer so; where there is none, the first of all."""
    said: tuple[int, ...]
    """The class that the example is taken for as it is, and at each strength."""


class Robustness(Answer):
    """How a classifier answers its test pictures once they are changed."""

    images: int
    """How many pictures were asked about, at each strength."""
    of_images: int
    """How many there are; of many, a sample is asked about."""
    clean: Accuracy
    """Of the same pictures as they are."""
    effects: tuple[Effect, ...]
    """One for each corruption, in the order of the table."""
    hurt_most: tuple[str, ...]
    """The corruptions that cost the most at their strongest, the worst first: that with the largest drop, and those that a paired test
    cannot tell from it. Empty where chance explains every drop."""


class RobustnessSpec(RunQuestion):
    """When does a classifier break? Its test pictures are changed, and its bundle is asked again."""

    answer = Robustness
    job: Literal["robustness"] = "robustness"
    corruptions: dict[str, tuple[float, float, float]] = Field(min_length=1)
    """The strengths of each corruption by its name, as the table `evaluation.corruptions` has them; with others the answer is another."""

    @property
    def handling(self) -> Handling:
        return Handling("Trying changed pictures", about=self.about(), lasting=True)


class ClassEvidence(Record):
    """How much each position of a picture speaks for one class, in comparison with the mean of all classes."""

    label: int
    """Index of the class."""
    positions: tuple[tuple[float, ...], ...]
    """Rows from the top, each from the left, of one number a position; below 0 it speaks against the class."""


class PictureEvidence(Answer):
    """Where in one picture the evidence for some classes lies, by gradients through the run's network."""

    classes: tuple[ClassEvidence, ...]


class EvidenceSpec(RunQuestion):
    """Where in one picture does the evidence for some classes lie, in a network whose logits are not linear in its map?

    The picture is one of the data set, or one that somebody brought, which is not kept.
    """

    answer = PictureEvidence
    job: Literal["evidence"] = "evidence"
    classes: tuple[int, ...] = Field(min_length=1, max_length=20)
    """Indices of the classes."""
    row: int | None = Field(default=None, ge=0)
    """Index into the manifest's images; None where somebody brought the picture."""
    brought: str | None = Field(default=None, pattern=r"^[0-9a-f]{16}$")
    """Name of the folder in the workspace's `staging` with the network's input, `BROUGHT`; the job that answers removes it."""

    @property
    def handling(self) -> Handling:
        about = None if self.row is None else self.about(self.row)
        return Handling("Looking for the evidence in a picture", about=about)


BROUGHT = "input.png"
"""File of a picture that somebody brought, at the network's input size, in a folder of the workspace's `staging`."""
