"""Pictures whose label their answers contradict."""

from __future__ import annotations

from tl_core.documents.base import Record


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


class Suspicion(Record):
    """Why the label of one picture is probably wrong, in words that stay true when classes get other numbers."""

    label: str
    """Name of the class that it had when it was judged."""
    suggested: str
    """Name of the likeliest class by the answer to it."""
    label_probability: float
    """Probability of its label."""
    suggested_probability: float
