"""The table of image formats: those that are read, and those that are recognised only to say that they are not read.

To read a further format, add a row with its Pillow name; everything else (which files of a folder count as pictures, what the
page's file chooser offers, what an error says is read) follows from the row.

Nothing of a file is counted before it is decoded: a row says what time and memory a healthy picture of its size takes, and the
process that decodes ends where a picture takes far more. One count is left, that of the frames of a WebP: its decoder reserves the
canvas when it opens a file, so what it may take then leaves room for a hundred thousand frames.
"""

import re
from collections import Counter
from dataclasses import dataclass

import pillow_heif


@dataclass(frozen=True, kw_only=True)
class ImageFormat:
    """How one image format is recognised and decoded."""

    name: str
    """The format's name in messages."""
    pillow: tuple[str, ...] = ()
    """Names of the Pillow plugins that open it; empty: the format is not read."""
    extensions: tuple[str, ...] = ()
    """Extensions of its files, in lower case, with the dot."""
    signature: bytes | None = None
    """Regular expression for the first bytes of a file; `.` stands for any byte. None: recognised by its extension only."""
    named_only: bool = False
    """Whether a file without an extension is not taken for this format, because its first bytes are too weak a sign."""
    scales: bool = False
    """Whether the decoder can scale down while it reads, so that a large picture needs little memory."""
    lossless: bool = False
    """Whether the format keeps every pixel as it was drawn."""
    slowness: float = 21.0
    """The most time that a pixel takes to decode, against a pixel of a plain JPEG: the slowest of what encoders write (progressive,
    lossless, with transparency), measured at 4 and 12 million pixels."""
    opened_bytes: int = 100_000_000
    """The most memory that the header and the metadata take, beside twice the file."""
    pixel_bytes: int = 24
    """The most memory that a pixel takes while it is decoded, converted and scaled. RGBA of WebP takes the most, 18."""
    frame: bytes | None = None
    """What stands before each frame of an animation, where the decoder notes all of them before the size is known."""
    chooser: tuple[str, ...] = ()
    """Extensions that a browser's file chooser does not count among `image/*`."""


def _table(*rows: ImageFormat) -> tuple[ImageFormat, ...]:
    names = Counter(key for row in rows for key in {row.name, *row.pillow, *row.extensions})
    twice = [key for key, count in names.items() if count > 1]
    if twice:
        raise ValueError(f"{', '.join(twice)}: in two rows of the table of image formats")
    return rows


FORMATS = _table(
    ImageFormat(
        name="JPEG",
        pillow=("JPEG",),
        extensions=(".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
        signature=rb"\xff\xd8\xff",
        scales=True,
        slowness=14,
        # One in several scans is held as a whole: up to 64 million pixels at two bytes for each of three colours. One in a single scan
        # is scaled down as it is read.
        pixel_bytes=4,
    ),
    ImageFormat(
        name="PNG",
        pillow=("PNG",),
        extensions=(".png", ".apng"),
        signature=rb"\x89PNG",
        lossless=True,
        slowness=7,
    ),
    ImageFormat(
        name="WebP",
        pillow=("WEBP",),
        extensions=(".webp",),
        signature=rb"RIFF....WEBP",
        slowness=8,
        # The decoder reserves its canvas, and the one of the frame before, when a file is opened.
        opened_bytes=600_000_000,
        frame=b"ANMF",
    ),
    ImageFormat(
        name="GIF",
        pillow=("GIF",),
        extensions=(".gif",),
        signature=rb"GIF8",
        lossless=True,
        slowness=3,
    ),
    # Two letters are too weak a sign: the size of the header that follows says which BMP it is. Without them, there is one plane.
    ImageFormat(
        name="BMP",
        pillow=("BMP", "DIB"),
        extensions=(".bmp", ".dib"),
        signature=rb"BM.{12}[\x0c(48@l|]|[(48@l|]\0\0\0.{8}\x01\0|\x0c\0\0\0.{4}\x01\0",
        named_only=True,
        lossless=True,
        slowness=1.3,
    ),
    # the second of each order as some programs write it by mistake; with a plus BigTIFF
    ImageFormat(
        name="TIFF",
        pillow=("TIFF",),
        extensions=(".tif", ".tiff"),
        signature=rb"II(?:\*\0|\0\*|\+\0)|MM(?:\0\*|\*\0)",
        lossless=True,
        slowness=3.5,
    ),
    # AVIF before HEIC: a file of either kind may begin with a name that both share, and name its own kind later.
    ImageFormat(
        name="AVIF",
        pillow=("AVIF",),
        extensions=(".avif",),
        signature=rb"....ftyp(?:av|m[is].{6}(?:.{4})*?avi[fs])",
        slowness=21,
        chooser=(".avif",),
    ),
    ImageFormat(
        name="HEIC",
        pillow=("HEIF",),
        extensions=(".heic", ".heif", ".hif"),
        signature=rb"....ftyp(?:he|m[is])",
        slowness=16,
        chooser=(".heic", ".heif"),
    ),
    ImageFormat(name="SVG", extensions=(".svg",), signature=rb"\s*<(?:svg|\?xml)"),
    ImageFormat(name="Photoshop", extensions=(".psd",), signature=rb"8BPS"),
    ImageFormat(name="PDF", signature=rb"\s*%PDF"),
    ImageFormat(name="PostScript", extensions=(".eps",), signature=rb"\s*%!PS"),
    ImageFormat(name="JPEG 2000", extensions=(".jp2", ".j2k"), signature=rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51"),
    ImageFormat(name="JPEG XL", extensions=(".jxl",)),
    ImageFormat(name="icon", extensions=(".ico",), signature=rb"\0\0\x01\0"),
    ImageFormat(name="QOI", signature=rb"qoif"),
    ImageFormat(name="DirectDraw", signature=rb"DDS "),
    ImageFormat(
        name="camera raw",
        extensions=(".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2"),
    ),
)
"""Every row has a name, Pillow plugins and extensions of its own."""
MOST_FRAMES = 20_000
"""The most frames of an animation whose format has a `frame`: a quarter of an hour."""
UNKNOWN = ImageFormat(name="unknown")
"""Stands for everything that no row describes."""

pillow_heif.register_heif_opener()

READ = tuple(row for row in FORMATS if row.pillow)
BY_EXTENSION = {extension: row for row in FORMATS for extension in row.extensions}
EXTENSIONS = frozenset(extension for row in READ for extension in row.extensions)
"""Extensions of the formats that are read."""
NOT_READ = (
    f"This kind of picture is not read. Save it as {', '.join(row.name for row in READ[:-1])} or {READ[-1].name}."
)
HEAD_BYTES = 256
"""How many of a file's first bytes `recognised` looks at."""

_SIGNATURES = tuple((re.compile(row.signature, re.DOTALL), row) for row in FORMATS if row.signature)


def recognised(content: bytes) -> ImageFormat:
    """The format that the first bytes of `content` (a whole file, or its beginning) belong to, or `UNKNOWN`."""
    head = content[:HEAD_BYTES]
    return next((row for signature, row in _SIGNATURES if signature.match(head)), UNKNOWN)
