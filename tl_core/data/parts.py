"""What a picture file is made of, counted before anything decodes it: segments, scans, chunks, blocks, strips, tiles.

Each function takes the bytes of a file, walks over its structure as the decoder will, and refuses a file whose parts are more, or
larger, than cameras, scanners and programs write. It does not look at pixels and does not judge whether the file is whole: what is
damaged is left to the decoder. A healthy picture costs microseconds, and a walk ends where it meets one of the limits below.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from tl_core.errors import UnreadableImage

MOST_BETWEEN = 100_000
"""Bytes between the parts of a file that belong to none. Some cameras pad with a few thousand; decoders read them one by one."""
MOST_SEGMENTS = 1_000
"""Segments before the first scan of a JPEG. A colour profile takes up to 255, a depth map in XMP about a hundred."""
MOST_EXIF = 100
"""Segments with EXIF. A camera writes one or two; the decoder's time grows with the square of their number."""
MOST_SCANS = 100
"""Scans of a JPEG. Encoders write about ten, optimisers a few dozen; each one goes over the whole picture."""
MOST_SAMPLES = 192_000_000
"""Samples (pixels of each colour) of a JPEG in several scans: it is held in memory as a whole, at two bytes for each sample."""
MOST_PIXEL_CHUNKS = 200_000
"""Chunks of a PNG with pixels: the largest file in chunks of a kilobyte. Eight kilobytes are usual."""
MOST_CHUNKS = 1_000
"""Chunks of a PNG with anything else: texts, a palette, a date."""
MOST_PACKED_CHUNKS = 50
"""Chunks of a PNG with a compressed text or colour profile. Each is unpacked, up to a megabyte, as the file is opened."""
MOST_BLOCKS = 20_000
"""Blocks, of up to 255 bytes, before the first picture of a GIF: a large colour profile and long comments."""
MOST_WEBP_CHUNKS = 20_000
"""Chunks of a WebP: a quarter of an hour of animation."""
MOST_RUN_BYTES = 8_000_000
"""Bytes of a run-length encoded BMP. They are small drawings, and are decoded a run at a time."""
MOST_TAGS = 1_000
"""Tags of a TIFF. Microscopes and maps have up to a hundred."""
MOST_STRIPS = 50_000
"""Strips or tiles of a TIFF: a scan of 16,000 rows in three planes, with each row in a strip of its own."""
MOST_TILE_PIXELS = 4_000_000
"""Pixels of one tile of a TIFF that is larger than the picture. Tiles of up to 1024 x 1024 are usual."""


def at_most(most: int, count: int, parts: str) -> None:
    """Refuse a picture that has more than `most` of the named `parts`.

    Raises:
        UnreadableImage: `count` is more than `most`.
    """
    if count > most:
        raise UnreadableImage(
            f"The picture has more than {most:,} {parts}, and such files are not read. Open it in another program and save it again.",
            "too_large",
        )


# Any number of 0xff stands before a marker. Only the last one is looked for: the time of a search grows with the bytes, not their square.
_MARKER = re.compile(rb"\xff([^\xff])", re.DOTALL)
_MARKER_IN_SCAN = re.compile(rb"\xff([^\xff\0\xd0-\xd7])", re.DOTALL)
_ALONE = frozenset({0xC8, *range(0xD0, 0xDA), *range(0xF0, 0xFE)})
"""Markers of a JPEG that no length follows."""
_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_SCAN, _END = 0xDA, 0xD9


def jpeg(content: bytes) -> None:
    """Count the segments before the first scan, and the scans.

    Raises:
        UnreadableImage: there are too many, or the picture comes in several scans and is too large for that.
    """
    at, between, segments, exif, samples = 2, 0, 0, 0, 0
    one_scan = b""
    while found := _MARKER.search(content, at):
        between += found.start(1) - 1 - at
        at, marker = found.end(), found[1][0]
        if marker == 0:
            between += 2
        elif marker < 0xC0:
            return
        else:
            segments += 1
        at_most(MOST_BETWEEN, between, "bytes outside its parts")
        at_most(MOST_SEGMENTS, segments, "segments")
        if marker == 0 or marker in _ALONE:
            continue
        body = content[at + 2 : at + 32]
        exif += body.startswith(b"Exif\0\0")
        at_most(MOST_EXIF, exif, "notes of a camera")
        if marker in _FRAME:
            samples = _samples(body)
            one_scan = b"" if marker in _PROGRESSIVE else body[5:6]
        at += max(2, int.from_bytes(content[at : at + 2], "big"))
        if marker == _SCAN:
            if body[:1] != one_scan:
                at_most(MOST_SAMPLES, samples, "values in its scans")
                at_most(MOST_SCANS, _scans(content, at), "scans")
            return
    at_most(MOST_BETWEEN, between + len(content) - at, "bytes outside its parts")


def _samples(frame: bytes) -> int:
    """Number of values of a frame, from its header; a colour that is stored at half the resolution counts for less."""
    if len(frame) < 6 or len(frame) < 6 + 3 * frame[5]:
        return 0
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    areas = [(factors >> 4) * (factors & 15) for factors in frame[7 : 6 + 3 * frame[5] : 3]]
    return width * height * sum(areas) // max([1, *areas])


def _scans(content: bytes, at: int) -> int:
    """Number of scans of the picture whose first scan has its data at `at`; the count ends when it is too large."""
    scans = segments = 1
    while scans <= MOST_SCANS and (found := _MARKER_IN_SCAN.search(content, at)) and found[1][0] != _END:
        segments += 1
        at_most(10 * MOST_SEGMENTS, segments, "segments")
        scans += found[1][0] == _SCAN
        at = found.end()
        if found[1][0] not in _ALONE:
            at += max(2, int.from_bytes(content[at : at + 2], "big"))
    return scans


def png(content: bytes) -> None:
    """Count the chunks: those with pixels, those that are unpacked as the file is opened, and all but those with pixels.

    Raises:
        UnreadableImage: there are too many.
    """
    at, pixels, packed, others = 8, 0, 0, 0
    while at + 8 <= len(content):
        length, name = struct.unpack_from(">I4s", content, at)
        if name == b"IEND":
            return
        if name in (b"IDAT", b"fdAT", b"fcTL"):
            pixels += 1
            at_most(MOST_PIXEL_CHUNKS, pixels, "chunks of pixels")
        else:
            others += 1
            packed += name in (b"iCCP", b"zTXt", b"iTXt")
            at_most(MOST_CHUNKS, others, "chunks")
            at_most(MOST_PACKED_CHUNKS, packed, "compressed texts")
        at += 12 + length


def gif(content: bytes) -> None:
    """Count what comes before the first picture: blocks of notes, and bytes that belong to nothing.

    Raises:
        UnreadableImage: there is too much of it.
    """
    palette = 6 << (content[10] & 7) if len(content) > 10 and content[10] & 0x80 else 0
    at, blocks, between = 13 + palette, 0, 0
    while at < len(content) and content[at] not in b",;":
        at_most(MOST_BETWEEN, between, "bytes outside its parts")
        if content[at] != 0x21:
            at, between = at + 1, between + 1
            continue
        kind = content[at + 1 : at + 2]
        at, length = _block(content, at + 2)
        blocks += 1
        if kind == b"\xff" and content.startswith(b"NETSCAPE2.0", at - length):
            at, _ = _block(content, at)
        # Pillow takes an empty first block for the end of a comment, but not for the end of another kind of note.
        if kind != b"\xfe":
            length = 1
        while length:
            at, length = _block(content, at)
            blocks += 1
            at_most(MOST_BLOCKS, blocks, "blocks of notes")
        at_most(MOST_BLOCKS, blocks, "blocks of notes")


def _block(content: bytes, at: int) -> tuple[int, int]:
    """Where the block of a GIF at `at` ends, and how many bytes it holds."""
    length = content[at] if at < len(content) else 0
    return at + 1 + length, length


def webp(content: bytes) -> None:
    """Count the chunks.

    Raises:
        UnreadableImage: there are too many.
    """
    at, chunks = 12, 0
    while at + 8 <= len(content):
        chunks += 1
        at_most(MOST_WEBP_CHUNKS, chunks, "chunks")
        length = int.from_bytes(content[at + 4 : at + 8], "little")
        at += 8 + length + length % 2


def bmp(content: bytes) -> None:
    """Compare the size of a file whose pixels are run-length encoded with the limit.

    Raises:
        UnreadableImage: it is too large.
    """
    header = 14 if content.startswith(b"BM") else 0
    size, compression = struct.unpack_from("<I12xI", content.ljust(header + 20, b"\0"), header)
    if size > 12 and compression in (1, 2):
        at_most(MOST_RUN_BYTES, len(content), "run-length encoded bytes")


_WHOLE_NUMBERS = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 13: "I", 16: "Q", 17: "q", 18: "Q"}
"""Types of the tags of a TIFF, as `struct` calls them."""
_WIDTH, _HEIGHT, _SAMPLES_PER_PIXEL, _TILE_WIDTH, _TILE_HEIGHT = _LAYOUT = (256, 257, 277, 322, 323)
_PER_STRIP = (273, 279, 324, 325)
"""Tags that hold a value for each strip or tile."""


def tiff(content: bytes) -> None:
    """Count the tags, strips and tiles of the first picture, and compare its tiles with the picture.

    Raises:
        UnreadableImage: there are too many, or the tiles are far larger than the picture.
    """
    counts: dict[int, int] = {}
    values: dict[int, int] = {}
    for tag, count, value in _tags(content):
        if tag in values and tag in (*_LAYOUT, *_PER_STRIP):
            raise UnreadableImage("The picture is damaged: it says twice how it is divided.", "truncated")
        counts[tag], values[tag] = count, value
    width, height, samples, across, down = (values.get(tag, 0) for tag in _LAYOUT)
    if across * down > max(MOST_TILE_PIXELS, 2 * width * height):
        raise UnreadableImage(
            f"The picture is {width:,} x {height:,} pixels, but it is stored in tiles of {across:,} x {down:,}. "
            "Open it in another program and save it again.",
            "too_large",
        )
    strips = -(-width // across) * -(-height // down) if across > 0 and down > 0 else height
    most = min(MOST_STRIPS, max(4, samples) * max(1, strips))
    at_most(most, max(counts.get(tag, 0) for tag in _PER_STRIP), "strips or tiles")


def _tags(content: bytes) -> Iterator[tuple[int, int, int]]:
    """The tags of the first directory: number, count of values, and the value of one that is a single whole number, else 0."""
    order = ">" if content.startswith(b"M") else "<"
    # BigTIFF: 64 bits in place of 32
    first, offset, number, entry = (8, "Q", "Q", "HHQ8s") if content[2:3] == b"+" else (4, "I", "H", "HHI4s")
    entry = order + entry
    try:
        (at,) = struct.unpack_from(order + offset, content, first)
        at = min(at, len(content))
        (tags,) = struct.unpack_from(order + number, content, at)
        at_most(MOST_TAGS, tags, "tags")
        at += struct.calcsize(number)
        for row in range(tags):
            tag, kind, count, data = struct.unpack_from(entry, content, at + row * struct.calcsize(entry))
            single = order + _WHOLE_NUMBERS.get(kind, "") if count == 1 else ""
            yield tag, count, struct.unpack_from(single, data)[0] if len(single) > 1 else 0
    except struct.error:
        return
