"""Numbers that are measured of one picture when it is read. The checks of `data/checks` find by them.

A new number is a row of `MEASURES`. Each child process that decodes pictures imports this module, so it knows NumPy and Pillow only:
neither documents nor what is said of a number.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Mapping
from io import BytesIO
from itertools import accumulate
from typing import Any, Literal, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base

from tl_core.data.formats import recognised

WHITE = 250
"""Grey value from which a pixel counts as blown out."""
_LEVELS = 32
"""Levels of grey among which the entropy is computed. Noise of a few of the 256 values stays within one or two of them."""
_REACH = 4
"""Pixels to each side of the mean by which a picture is blurred again."""
_LINES = 64
"""Rows, and columns, that are enough to tell how blurred a picture is."""
_BORDER = 50
"""The border of a picture is one part in so many of its shorter side deep."""

Needs = Literal["file", "pixels", "grey"]


class Measure(NamedTuple):
    """One row of the table."""

    needs: Needs
    """What `of` is given: the original file (bytes); the picture (RGB, upright, its longest side at most 1024 pixels); or the same
    picture in grey (mode L), its longest side at most 256 pixels (every n-th pixel), which takes a tenth of the time.
    """
    of: Callable[[Any], int | float]
    """The number. It must not raise on an odd picture."""


def measured(needs: Needs, given: object) -> dict[str, int | float]:
    """The numbers of one picture that need `needs`, by their names."""
    return {name: measure.of(given) for name, measure in MEASURES.items() if measure.needs == needs}


def blur(grey: Image.Image) -> float:
    """How blurred a picture is, from 0 (sharp) to 1: the measure of Crete et al., "The blur effect: perception and estimation with a
    new no-reference perceptual blur metric" (SPIE 6492, 2007), which contrast and brightness do not change.

    The picture is blurred again by a mean over 9 pixels in a row or column. The number is the share of the differences between
    neighbouring pixels that this leaves, in the direction in which it leaves more. A picture of one colour has 0.
    """
    values = np.asarray(grey)
    return max(_left_by_blur(values), _left_by_blur(values.T))


def _left_by_blur(values: NDArray[np.uint8]) -> float:
    """Share of the differences between the rows of `values`, shape (H, W), that a mean over 9 rows leaves; in some of the columns."""
    some = values[:, :: max(1, values.shape[1] // _LINES)].astype(np.float32, order="C")
    differences = np.abs(some[1:] - some[:-1])
    total = float(differences.sum())
    if not total:
        return 0.0
    padded = np.concatenate([some[:1]] * _REACH + [some] + [some[-1:]] * _REACH)
    # Two neighbouring means over 9 rows share all but one row each.
    window = 2 * _REACH + 1
    left = np.abs(padded[window:] - padded[:-window]) / window
    return 1 - float(np.maximum(differences - left, 0).sum()) / total


def bright_part(grey: Image.Image) -> int:
    """The grey value, 0 to 255, that 99 in 100 pixels do not exceed. cleanvision (cleanlab, Apache-2.0) tells dark pictures by this
    percentile.
    """
    upto = list(accumulate(grey.histogram()))
    return bisect_left(upto, 0.99 * upto[-1])


def white_share(grey: Image.Image) -> float:
    """Share of the pixels whose grey value is `WHITE` or more."""
    histogram = grey.histogram()
    return sum(histogram[WHITE:]) / sum(histogram)


def entropy(grey: Image.Image) -> float:
    """Entropy of the picture's grey, in bits, from 0 (one grey) to 5 (32 levels, equally often). cleanvision tells pictures with
    little information by the entropy of all 256 values.
    """
    counts = np.reshape(grey.histogram(), (_LEVELS, -1)).sum(axis=1)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def brightness(grey: Image.Image) -> float:
    """The mean grey value, 0 to 255."""
    return sum(value * count for value, count in enumerate(grey.histogram())) / (grey.width * grey.height)


def border(channel: int) -> Callable[[Image.Image], float]:
    """A function that gives the mean of one channel (0 red, 1 green, 2 blue) along the four edges of a picture, 0 to 255."""

    def mean(image: Image.Image) -> float:
        width, height = image.size
        deep = max(1, min(width, height) // _BORDER)
        edges = (
            (0, 0, width, deep),
            (0, height - deep, width, height),
            (0, 0, deep, height),
            (width - deep, 0, width, height),
        )
        parts = [np.asarray(image.crop(edge).getchannel(channel)).ravel() for edge in edges]
        return float(np.concatenate(parts).mean())

    return mean


def file_format(content: bytes) -> int:
    """A number that stands for the format of the file."""
    return crc32(recognised(content).name.encode())


def side(axis: int) -> Callable[[bytes], int]:
    """A function that gives the width (0) or height (1) that a file declares, in pixels, before it is turned upright."""
    return lambda content: _opened(content).size[axis]


def camera(content: bytes) -> int:
    """A number that stands for the camera and the program that made the file; one and the same where the file names none."""
    tags = _opened(content).getexif()
    return crc32("\n".join(str(tags.get(tag, "")) for tag in (Base.Make, Base.Model, Base.Software)).encode())


def _opened(content: bytes) -> Image.Image:
    """The picture of a file that was decoded before, without its pixels."""
    return Image.open(BytesIO(content), formats=recognised(content).pillow)


MEASURES: Mapping[str, Measure] = {
    "blurred": Measure("grey", blur),
    "dark": Measure("grey", bright_part),
    "bright": Measure("grey", white_share),
    "blank": Measure("grey", entropy),
    "brightness": Measure("grey", brightness),
    "border_red": Measure("pixels", border(0)),
    "border_green": Measure("pixels", border(1)),
    "border_blue": Measure("pixels", border(2)),
    "file_format": Measure("file", file_format),
    "file_bytes": Measure("file", len),
    "file_width": Measure("file", side(0)),
    "file_height": Measure("file", side(1)),
    "camera": Measure("file", camera),
}
"""Every number by its name, its key in `ImageEntry.measured`. A check that finds by one number has its kind for a name; those from
`brightness` on are what the check of shortcuts looks at.
"""
