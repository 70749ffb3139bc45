"""Pictures that are unlike the others of their class in one number: blurred, dark, bright, blank, tiny, of an odd shape.

A new way to be unlike is a row of `UNLIKE`; `data/checks` makes a check of each. Knows no pixels: the numbers were measured when the pictures
were read (`data/measures`), or are the size of the copy.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.manifest import ImageEntry, Manifest
from tl_core.table import Table


@dataclass(frozen=True, kw_only=True)
class Unlike:
    """One row of the table: a number, the limit past which it is unusual, and what is said of pictures past it."""

    kind: str
    """Name of the check, and of the number's row in `data/measures`, if it has one."""
    number: Callable[[ImageEntry], float | None]
    """None: it was not measured, and the picture is left out."""
    above: float = -np.inf
    """The number must be greater than this,"""
    below: float = np.inf
    """and less than this."""
    usual: float
    """The smallest deviation that is assumed, on `scale`."""
    most: float = np.inf
    """The largest one."""
    times: float = 5.0
    """How many deviations from the median of the class are unusual."""
    scale: Callable[[NDArray[np.float64]], NDArray[np.float64]] = np.positive
    """A rising function of the number on which differences count alike everywhere."""
    one: str
    """How the message begins after the number of pictures, where it is one."""
    many: str
    """The same for several."""
    says: str
    """The rest of the message; `{size}` stands for width and height of the farthest picture."""

    def rows(self, manifest: Manifest) -> list[int]:
        """Rows of pictures whose `number` is past a limit and differs from what is usual in their class; the farthest first.

        On `scale`, the number must differ from the median of its class, in the direction of the limit, by more than `times` the deviation:
        that of all pictures from the medians of their classes (1.4826 times the median absolute deviation, which is the standard deviation of
        normal numbers), but at least `usual` and at most `most`. So a class, or a whole folder, of night photos is not found,
        nor are pictures that the user decided to keep.
        """
        numbers = {row: known for row, image in enumerate(manifest.images) if (known := self.number(image)) is not None}
        if not numbers:
            return []
        rows = np.array(list(numbers))
        given = np.array(list(numbers.values()), dtype=np.float64)
        labels = np.array([manifest.images[row].label for row in rows])
        scaled = self.scale(given)
        median = {label: np.median(scaled[labels == label]) for label in np.unique(labels)}
        differences = scaled - np.array([median[label] for label in labels])
        if self.below < np.inf:
            differences = -differences
        deviation = min(self.most, max(self.usual, 1.4826 * float(np.median(np.abs(differences)))))
        found = np.flatnonzero((given > self.above) & (given < self.below) & (differences > self.times * deviation))
        farthest_first = rows[found[np.argsort(-differences[found], kind="stable")]].tolist()
        return [row for row in farthest_first if not manifest.images[row].reviewed]

    def message(self, manifest: Manifest, rows: Sequence[int]) -> str:
        """What is said of `rows`, which are not empty."""
        farthest = manifest.images[rows[0]]
        says = self.says.format(size=f"{farthest.width} x {farthest.height}")
        return f"{len(rows):,} {self.one if len(rows) == 1 else self.many} {says}"


def _measured(kind: str) -> Callable[[ImageEntry], float | None]:
    return lambda image: image.measured.get(kind)


_LEAVE_OUT = "Leave such pictures out, unless those that will be classified look like this, too: then keep them, and add more of them."

UNLIKE = Table(
    "way to be unlike the class",
    [
        Unlike(
            kind="blurred",
            number=_measured("blurred"),
            above=0.5,
            usual=0.02,
            one="picture is",
            many="pictures are",
            says=f"blurred beside the others of the class, even at the small size that a network is given. {_LEAVE_OUT}",
        ),
        Unlike(
            kind="dark",
            number=_measured("dark"),
            below=0.32 * 255,
            usual=0.32,
            scale=lambda grey: np.log(1 + grey),
            one="picture is",
            many="pictures are",
            says=f"much darker than the others of the class. {_LEAVE_OUT}",
        ),
        Unlike(
            kind="bright",
            number=_measured("bright"),
            above=0.75,
            usual=0.05,
            one="picture is",
            many="pictures are",
            says=f"white in three quarters or more, unlike the others of the class: perhaps too much light. {_LEAVE_OUT}",
        ),
        Unlike(
            kind="blank",
            number=_measured("blank"),
            below=0.75,
            usual=0.2,
            scale=lambda bits: np.log(0.05 + bits),
            one="picture shows",
            many="pictures show",
            says="next to nothing, such as an empty page or a placeholder for a picture that was missing. Leave such pictures out.",
        ),
        Unlike(
            kind="tiny",
            number=lambda image: max(image.width, image.height),
            below=64,
            usual=0.2,
            most=0.384,
            times=6.0,
            scale=np.log,
            one="picture has",
            many="pictures have",
            says="far fewer pixels than the others of the class, the smallest {size}. Perhaps thumbnails; bring the originals, or leave them out.",
        ),
        Unlike(
            kind="odd_shape",
            number=lambda image: max(image.width, image.height) / min(image.width, image.height),
            above=4,
            usual=0.2,
            scale=np.log,
            one="picture is",
            many="pictures are",
            says="a strip beside the others of the class, such as {size}. Every picture is squashed to a square, which leaves little of a strip: "
            "cut out what it is to show and add that, or leave it out.",
        ),
    ],
    key=attrgetter("kind"),
)
"""Every way by its kind, in the order in which findings are told."""
