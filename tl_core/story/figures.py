"""Where the shapes of a story's charts lie; the templates draw them as SVG.

Lengths are in the units of each chart's own picture, which the page scales to its width.
"""

from dataclasses import dataclass

import numpy as np

from tl_core.documents.report import Report
from tl_core.documents.spec import TrainSpec
from tl_core.errors import UnknownName
from tl_core.markdown import named
from tl_core.models.registry import network
from tl_core.training.strategies.strategies import stage_rates, strategies

MOST_CLASSES = 40
"""The most classes in the matrix: with more, its cells are too small to be read."""
_NUMBERS_UP_TO = 24
"""The most classes with which a number fits into a cell."""
_LETTER = 7.2
"""About the width of a letter of a label."""
_LABEL = 16
"""The most letters of a label."""


@dataclass(frozen=True)
class Cell:
    """A cell of the matrix that has answers in it."""

    x: float
    y: float
    count: int
    right: bool
    strength: float
    """Opacity of its colour, 0 to 1: the share of the pictures of its row."""
    says: str


@dataclass(frozen=True)
class Matrix:
    """The confusion matrix: a row for what pictures were, a column for what was said."""

    classes: tuple[int, ...]
    """Those that are drawn, as indices, in class order."""
    labels: tuple[str, ...]
    cells: tuple[Cell, ...]
    side: float
    """Of a cell."""
    left: float
    top: float
    width: float
    height: float
    numbered: bool
    """Whether each cell has its number in it."""


def drawn_classes(report: Report) -> list[int]:
    """The classes in the matrix, as indices in class order: all, or the `MOST_CLASSES` with the most mistakes."""
    counts = np.array(report.test.confusion, dtype=np.int64)
    np.fill_diagonal(counts, 0)
    mistakes = counts.sum(axis=0) + counts.sum(axis=1)
    return sorted(np.argsort(-mistakes, kind="stable")[:MOST_CLASSES].tolist())


def matrix(report: Report) -> Matrix:
    """Of the test pictures, with the `drawn_classes`."""
    counts = np.array(report.test.confusion, dtype=np.int64)
    drawn = drawn_classes(report)
    side = next(
        side
        for most, side in ((6, 58.0), (10, 42.0), (_NUMBERS_UP_TO, 30.0), (MOST_CLASSES, 19.0))
        if len(drawn) <= most
    )
    labels = tuple(named(report.classes[label], longest=_LABEL) for label in drawn)
    longest = max(len(label) for label in labels) * _LETTER
    left, top = longest + 14, longest * 0.72 + 18
    cells = []
    for row, truth in enumerate(drawn):
        of_row = max(1, int(counts[truth].sum()))
        for column, predicted in enumerate(drawn):
            count = int(counts[truth, predicted])
            if count:
                what = "and rightly called that" if truth == predicted else f"called {named(report.classes[predicted])}"
                cells.append(
                    Cell(
                        x=left + column * side,
                        y=top + row * side,
                        count=count,
                        right=truth == predicted,
                        strength=round(0.2 + 0.35 * count / of_row, 3),
                        says=f"{named(report.classes[truth])}, {what}: {count:,}",
                    )
                )
    size = len(drawn) * side
    return Matrix(
        classes=tuple(drawn),
        labels=labels,
        cells=tuple(cells),
        side=side,
        left=left,
        top=top,
        width=left + size + max(8.0, longest * 0.72 - side / 2),
        height=top + size + 4,
        numbered=len(drawn) <= _NUMBERS_UP_TO,
    )


def learned(spec: TrainSpec, report: Report) -> tuple[bool, ...]:
    """Whether each stage of the backbone learned, from the stem up; empty where nobody knows any more."""
    if report.moved:
        return tuple(stage.learned for stage in report.moved)
    try:
        total = len(network(spec.backbone).stages)
        rates = stage_rates(
            strategies()[spec.strategy], total, spec.stages, recipe=spec.recipe, learning=spec.learning_stages
        )
    except (UnknownName, KeyError):
        return ()
    return tuple(rate is not None for rate in rates)


def right_of_100(accuracy: float) -> int:
    """How many of 100 dots are right: rounded, but all of them only where every answer is, and none only where none is."""
    if accuracy in (0.0, 1.0):
        return round(100 * accuracy)
    return min(99, max(1, round(100 * accuracy)))
