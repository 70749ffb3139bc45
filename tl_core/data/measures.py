"""Numbers that are measured of one picture when it is read. The checks of `data/checks` find by them.

A new number is a row of `MEASURES`. Each child process that decodes pictures imports this module, so it knows NumPy and Pillow only:
neither documents nor what is said of a number.
"""

from collections.abc import Callable, Mapping
from io import BytesIO
from operator import itemgetter
from typing import Any, Literal, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.ExifTags import Base

from tl_core.data.formats import recognised

LONGEST_GREY = 256
"""Longest side of the grey picture that is measured, pixels."""
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

Needs = Literal["file", "header", "pixels", "border", "grey", "histogram"]


class Measure(NamedTuple):
    """One row of the table."""

    needs: Needs
    """What `of` is given: the original file (bytes); the picture that it declares, opened and not decoded; the decoded picture (RGB, upright,
    its longest side at most 1024 pixels); the mean red, green and blue along its four edges, 0 to 255; the same picture in grey (mode L),
    its longest side at most `LONGEST_GREY` pixels (every n-th pixel); or how many pixels of that one have each grey value, shape (256,).
    """
    of: Callable[[Any], int | float]
    """The number. It must not raise on an odd picture."""


def measured(content: bytes, image: Image.Image) -> dict[str, int | float]:
    """Every number of one picture, by its name. `content`: its file, bytes; `image`: what was decoded of it, as `Measure.needs` says."""
    grey = shrunk_grey(image)
    inputs: dict[Needs, object] = {
        "file": content,
        "header": Image.open(BytesIO(content), formats=recognised(content).pillow),
        "pixels": image,
        "border": border(image),
        "grey": grey,
        "histogram": np.array(grey.histogram()),
    }
    return {name: measure.of(inputs[measure.needs]) for name, measure in MEASURES.items()}


def shrunk_grey(image: Image.Image) -> Image.Image:
    """`image` in grey, its longest side at most `LONGEST_GREY`. Pixels are left out, not averaged, which takes a tenth of the time."""
    factor = LONGEST_GREY / max(image.size)
    if factor < 1:
        size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = image.resize(size, Image.Resampling.NEAREST)
    return image.convert("L")


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
    differences = _changes(some, 1)
    total = float(differences.sum())
    if not total:
        return 0.0
    padded = np.concatenate([some[:1]] * _REACH + [some] + [some[-1:]] * _REACH)
    # Two neighbouring means over 9 rows share all but one row each.
    window = 2 * _REACH + 1
    left = _changes(padded, window)
    left /= window
    differences -= left
    return 1 - float(np.maximum(differences, 0, out=differences).sum()) / total


def _changes(rows: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """How much each of `rows` differs from the one `step` before it."""
    changes = rows[step:] - rows[:-step]
    np.abs(changes, out=changes)
    return changes


def bright_part(histogram: NDArray[np.integer]) -> int:
    """The grey value, 0 to 255, that 99 in 100 pixels do not exceed. cleanvision (cleanlab, Apache-2.0) tells dark pictures by this
    percentile.
    """
    upto = histogram.cumsum()
    return int(np.searchsorted(upto, 0.99 * upto[-1]))


def white_share(histogram: NDArray[np.integer]) -> float:
    """Share of the pixels whose grey value is `WHITE` or more."""
    return float(histogram[WHITE:].sum() / histogram.sum())


def entropy(histogram: NDArray[np.integer]) -> float:
    """Entropy of the picture's grey, in bits, from 0 (one grey) to 5 (32 levels, equally often). cleanvision tells pictures with
    little information by the entropy of all 256 values.
    """
    counts = histogram.reshape(_LEVELS, -1).sum(axis=1)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum()) + 0.0


def brightness(histogram: NDArray[np.integer]) -> float:
    """The mean grey value, 0 to 255."""
    return float(np.arange(256) @ histogram / histogram.sum())


def border(image: Image.Image) -> list[float]:
    """The mean red, green and blue of `image` (RGB) along its four edges, 0 to 255."""
    width, height = image.size
    deep = max(1, min(width, height) // _BORDER)
    edges = (
        (0, 0, width, deep),
        (0, height - deep, width, height),
        (0, 0, deep, height),
        (width - deep, 0, width, height),
    )
    values = np.frombuffer(b"".join(image.crop(edge).tobytes() for edge in edges), dtype=np.uint8).reshape(-1, 3)
    means: list[float] = (np.ones(len(values)) @ values / len(values)).tolist()
    return means


def file_format(content: bytes) -> int:
    """A number that stands for the format of the file."""
    return crc32(recognised(content).name.encode())


def side(axis: int) -> Callable[[Image.Image], int]:
    """A function that gives the width (0) or height (1) that a file declares, in pixels, before it is turned upright."""
    return lambda header: header.size[axis]


def camera(header: Image.Image) -> int:
    """A number that stands for the camera and the program that made the file; one and the same where the file names none."""
    tags = header.getexif()
    return crc32("\n".join(str(tags.get(tag, "")) for tag in (Base.Make, Base.Model, Base.Software)).encode())


MEASURES: Mapping[str, Measure] = {
    "blurred": Measure("grey", blur),
    "dark": Measure("histogram", bright_part),
    "bright": Measure("histogram", white_share),
    "blank": Measure("histogram", entropy),
    "brightness": Measure("histogram", brightness),
    "border_red": Measure("border", itemgetter(0)),
    "border_green": Measure("border", itemgetter(1)),
    "border_blue": Measure("border", itemgetter(2)),
    "file_format": Measure("file", file_format),
    "file_bytes": Measure("file", len),
    "file_width": Measure("header", side(0)),
    "file_height": Measure("header", side(1)),
    "camera": Measure("header", camera),
}
"""Every number by its name, its key in `ImageEntry.measured`. A check that finds by one number has its kind for a name; those from
`brightness` on are what the check of shortcuts looks at.
"""
