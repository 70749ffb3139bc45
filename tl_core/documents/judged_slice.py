"""Slices of a run's pictures, and on which of them it errs more than elsewhere."""

from __future__ import annotations

from typing import Literal

from tl_core.documents.base import Record
from tl_core.documents.report import ImageAnswer

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
