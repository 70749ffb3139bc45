"""How accuracy grows with the number of pictures, and what twice as many would bring."""

from __future__ import annotations

from tl_core.documents.base import Record


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
