"""The one image function, so that training, evaluation, the app and the bundle see the same pixels of a picture; and what is made of them:
the copy that a data set keeps, or the input of a network.

bytes -> header checked -> EXIF orientation -> RGB (alpha over white, 16 bits scaled to 8) -> longest side at most 1024 -> squashed to
the square that a network takes. Pillow does all of it. Mean and standard deviation are not applied here: they are part of the
exported graph.

A copy is upright RGB, its longest side at most 1024 pixels, without metadata: JPEG (quality 95, no chroma subsampling) for photos,
PNG for small pictures that were lossless, so that a drawn digit is not blurred.

These functions decode in the process that calls them. `guarded.Pool` has the same ones, which decode in child processes.
"""

import io
import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from tl_core.data.formats import MOST_FRAMES, NOT_READ, UNKNOWN, ImageFormat, recognised
from tl_core.data.measures import measured
from tl_core.errors import UnreadableImage

LONGEST = 1024
"""Longest side that is kept, pixels."""
MAX_FILE_BYTES = 200_000_000
"""Largest size of one picture, or of one file in a zip, bytes."""
MAX_PIXELS = 120_000_000
"""Most pixels that a header may claim where the decoder scales while it reads. Phone cameras go up to 108 million."""
MAX_PIXELS_UNSCALED = 64_000_000
"""Most pixels that any other header may claim: those pictures are decoded whole, at up to 18 bytes per pixel."""
ONE_AT_A_TIME = 24_000_000
"""Pixels above which a picture is decoded alone: two such at once would need more memory than the whole program may take."""
MIN_SIDE = 4
"""Shortest allowed side, pixels. Smaller pictures are tracking pixels and placeholders."""
TOO_MUCH_MEMORY = (
    "The picture takes more memory to decode than any picture of its size needs. Save it again with another program."
)
THUMBNAIL = 256
"""Longest side of a thumbnail, pixels."""
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}

_TINY = 128
"""Pixels; a thumbnail of a picture whose longest side is shorter is larger than the picture."""
_LOSSLESS_PIXELS = 512 * 512
_TINY_SHOWN = 64
"""Pixels; the small copy beside an input is enlarged where the picture's longest side is shorter."""
_MOST = (
    f"JPEG is read up to {MAX_PIXELS // 1_000_000}, other kinds up to {MAX_PIXELS_UNSCALED // 1_000_000} million pixels"
)
_large = threading.Lock()

Image.MAX_IMAGE_PIXELS = MAX_PIXELS
warnings.simplefilter("error", Image.DecompressionBombWarning)

Room = Callable[[int], AbstractContextManager[object]]
"""Given the pixels that a header claims, a context in which there is memory to decode them."""


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


def alone(pixels: int) -> AbstractContextManager[object]:
    """A context in which no other picture above `ONE_AT_A_TIME` pixels is decoded, where `pixels` are more than that."""
    return _large if pixels > ONE_AT_A_TIME else nullcontext()


def decode(source: bytes | Path, *, longest: int = LONGEST, room: Room = alone) -> Image.Image:
    """The picture in `source` (a file's bytes, or its path) as RGB, upright, its longest side at most `longest` pixels.

    The content decides which format it is, not the name. Only the first frame is read. The pixels are decoded in the
    context `room`.

    Raises:
        UnreadableImage: it cannot be used; `reason` says why.
        OSError: the file itself cannot be read.
    """
    content = read_bytes(source)
    image = _open(content)
    scales = recognised(content).scales
    try:
        with room(image.width * image.height):
            return _upright_rgb(image, longest, scales)
    except Exception as error:  # a decoder that is fed broken or hostile bytes may raise anything
        raise unreadable(error) from error


def read_bytes(source: bytes | Path) -> bytes:
    """The bytes of a picture, given as bytes or as a path.

    Raises:
        UnreadableImage: there are none, or more than `MAX_FILE_BYTES`.
    """
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    if size == 0:
        raise UnreadableImage("The file is empty.", "empty")
    if size > MAX_FILE_BYTES:
        raise UnreadableImage(
            f"The file has {size / 1e6:,.0f} MB; a picture may have up to {MAX_FILE_BYTES // 1_000_000} MB.",
            "too_large",
        )
    return source if isinstance(source, bytes) else source.read_bytes()


def to_input(image: Image.Image, size: int, interpolation: str) -> NDArray[np.uint8]:
    """The whole picture squashed to a square: uint8 (size, size, 3), RGB. `interpolation` is a key of `INTERPOLATIONS`."""
    return np.asarray(_in_mode_rgb(image).resize((size, size), INTERPOLATIONS[interpolation]), dtype=np.uint8)


def read_input(source: bytes | Path, size: int, interpolation: str) -> NDArray[np.uint8]:
    """`to_input` of `decode`: uint8 (size, size, 3).

    Raises:
        UnreadableImage: as `decode`.
    """
    return to_input(decode(source), size, interpolation)


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


def _open(content: bytes) -> Image.Image:
    row = recognised(content)
    if not row.pillow:
        raise _unidentified(row)
    if row.frame and content.count(row.frame) > MOST_FRAMES:
        raise UnreadableImage(
            f"The picture has more than {MOST_FRAMES:,} frames. Save one of them as a picture.", "too_large"
        )
    try:
        # Only the plugins of the format by whose row the decoder is limited.
        image = Image.open(io.BytesIO(content), formats=row.pillow)
        width, height = image.size
    except UnidentifiedImageError as error:
        raise _unidentified(row) from error
    except Exception as error:  # as above: header parsers meet hostile bytes first
        raise unreadable(error) from error
    most = MAX_PIXELS if row.scales else MAX_PIXELS_UNSCALED
    if width * height > most:
        raise UnreadableImage(
            f"The picture says that it is {width:,} x {height:,} pixels; {_MOST}. Save it smaller.", "too_large"
        )
    if min(width, height) < MIN_SIDE:
        raise UnreadableImage(
            f"The picture is {width} x {height} pixels; each side must have {MIN_SIDE} at least.", "too_small"
        )
    return image


def _upright_rgb(image: Image.Image, longest: int, scales: bool) -> Image.Image:
    factor = longest / max(image.size)
    if factor < 1 and scales:
        # The JPEG decoder drops to an eighth, a quarter or a half by itself, never below what is asked for. That of HEIC would
        # give an embedded thumbnail instead of the picture.
        image.draft(None, (max(1, round(image.width * factor)), max(1, round(image.height * factor))))
    image.load()
    ImageOps.exif_transpose(image, in_place=True)
    image = _rgb(image)
    factor = longest / max(image.size)
    if factor < 1:
        target = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
        image = image.resize(target, Image.Resampling.BICUBIC, reducing_gap=3.0)
    # Otherwise Pillow would write the source's comment and colour profile into every copy that it saves.
    image.info = {}
    return image


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bit(image).convert("RGB")
    if image.has_transparency_data:
        layered = image if image.mode == "RGBA" else image.convert("RGBA")
        flat = Image.new("RGB", layered.size, "white")
        flat.paste(layered, mask=layered)
        return flat
    return _in_mode_rgb(image)


def _in_mode_rgb(image: Image.Image) -> Image.Image:
    # Converting what is RGB already would copy it.
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, scaled by the range of its type, or by its own largest value where the type has no natural range."""
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    values = np.nan_to_num(np.array(image, dtype=np.float32), copy=False, posinf=0.0, neginf=0.0)
    largest = float(values.max())
    usual = (255.0, 65535.0) if image.mode == "I" else (1.0, 255.0, 65535.0)
    top = next((limit for limit in usual if largest <= limit), largest)
    np.clip(values, 0, top, out=values)
    values *= 255.0 / top
    return Image.fromarray(values.round(out=values).astype(np.uint8))


def _unidentified(row: ImageFormat) -> UnreadableImage:
    if row.pillow:
        return UnreadableImage("The picture is damaged or cut off: its header cannot be read.", "truncated")
    if row is not UNKNOWN:
        return UnreadableImage(NOT_READ, "unsupported_format")
    return UnreadableImage("The file is not a picture, whatever its name says.", "not_an_image")


def unreadable(error: Exception) -> UnreadableImage:
    """What is said of a picture whose decoder raised `error`."""
    if isinstance(error, UnreadableImage):
        return error
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return UnreadableImage(f"The picture is too large: {_MOST}. Save it smaller.", "too_large")
    if isinstance(error, MemoryError):
        return UnreadableImage(TOO_MUCH_MEMORY, "too_costly")
    return UnreadableImage("The picture is damaged or cut off: its pixels cannot be read.", "truncated")


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
