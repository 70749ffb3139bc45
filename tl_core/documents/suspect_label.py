"""Pictures whose label their answers contradict."""

from __future__ import annotations

from pydantic import Field

from tl_core.documents.base import Record


class Suspicion(Record):
    """Why the label of one picture is probably wrong."""

    label: int = Field(ge=0)
    """Index of the class that it had when it was judged."""
    suggested: int = Field(ge=0)
    """Index of the likeliest class by the answer to it."""
    label_probability: float
    """Probability of its label."""
    suggested_probability: float


class SuspectLabel(Suspicion):
    """One picture with a label that is probably wrong."""

    row: int
    """Index of the picture in the arrays that were given."""
