"""What Graft makes of a picture that somebody brings: the copy that a data set keeps, or the input of a network.

A copy is upright RGB, its longest side at most 1024 pixels, without metadata: JPEG (quality 95, no chroma subsampling) for photos,
PNG for small pictures that were lossless, so that a drawn digit is not blurred.

These functions decode in the process that calls them. `guarded.Pool` has the same ones, which decode in child processes.
"""

import io
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tl_core.data.formats import recognised
from tl_core.data.measures import measured
from tl_core.data.pixels import Room, alone, decode, to_input

THUMBNAIL = 256
"""Longest side of a thumbnail, pixels."""

_TINY = 128
"""Pixels; a thumbnail of a picture whose longest side is shorter is larger than the picture."""
_LOSSLESS_PIXELS = 512 * 512
_TINY_SHOWN = 64
"""Pixels; the small copy beside an input is enlarged where the picture's longest side is shorter."""


class Copy(NamedTuple):
    """What a data set keeps of one picture."""

    width: int
    height: int
    measured: dict[str, int | float]
    """What was measured, by the names of `MEASURES`."""
    extension: str = ""
    """`.jpg` or `.png`, that of the copy; empty where none was asked for."""
    content: bytes = b""
    """The copy, a whole file."""
    thumbnail: bytes = b""
    """A JPEG."""


class Input(NamedTuple):
    """One picture for a network, and for people."""

    pixels: NDArray[np.uint8]
    """The whole picture squashed to a square, RGB, shape (S, S, 3)."""
    shown: bytes
    """A small copy, a JPEG; empty where none was asked for."""


def make_copy(content: bytes, *, keep: bool, room: Room = alone) -> Copy:
    """Decode `content`, a whole file, and measure it (`data/measures`). `keep`: make copy and thumbnail.

    Raises:
        UnreadableImage: as `decode`.
    """
    image = decode(content, room=room)
    numbers = measured(content, image)
    if not keep:
        return Copy(*image.size, numbers)
    return Copy(
        *image.size, numbers, *_normalised(image, lossless=recognised(content).lossless), _jpeg(_thumbnail(image))
    )


def make_input(content: bytes, size: int, interpolation: str, *, shown: int | None = None, room: Room = alone) -> Input:
    """Decode `content`, a whole file, as `pixels.read_input` does. `shown`: longest side of the small copy, pixels.

    Raises:
        UnreadableImage: as `decode`.
    """
    image = decode(content, room=room)
    pixels = to_input(image, size, interpolation)
    if shown is None:
        return Input(pixels, b"")
    image = enlarged(image, below=_TINY_SHOWN)
    image.thumbnail((shown, shown))
    return Input(pixels, _jpeg(image))


def enlarged(image: Image.Image, *, below: int) -> Image.Image:
    """`image`; if its longest side has fewer pixels than `below`, enlarged to 160 pixels or more with sharp edges."""
    longest = max(image.size)
    return image if longest >= below else _times(image, -(-160 // longest))


def _normalised(image: Image.Image, *, lossless: bool) -> tuple[str, bytes]:
    copied = io.BytesIO()
    if lossless and image.width * image.height <= _LOSSLESS_PIXELS:
        plain = image.getchannel(0) if _is_grey(image) else image
        plain.save(copied, "PNG", compress_level=1)
        return ".png", copied.getvalue()
    image.save(copied, "JPEG", quality=95, subsampling=0)
    return ".jpg", copied.getvalue()


def _is_grey(image: Image.Image) -> bool:
    red, green, blue = (channel.tobytes() for channel in image.split())
    return red == green == blue


def _thumbnail(image: Image.Image) -> Image.Image:
    longest = max(image.size)
    if longest < _TINY:
        # The browser would blur so small a picture when it enlarges it; whole pixels show what it is.
        return _times(image, _TINY // longest)
    small = image.copy()
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.BILINEAR, reducing_gap=1.0)
    return small


def _times(image: Image.Image, factor: int) -> Image.Image:
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()
