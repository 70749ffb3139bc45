"""Files that would cost far more than pictures should, each one built from a real picture that Pillow writes.

`HOSTILE` is the table of them. `real` writes a healthy picture of a format, and `mutated` breaks any file at random. All of them take
a generator of random numbers, so that a seed gives the same files everywhere.
"""

import io
import random
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from tl_core.data.formats import READ

FORMATS = tuple(row.pillow[0] for row in READ)
"""Pillow's names of the formats that are read."""
Make = Callable[[random.Random], bytes]
Tag = tuple[int, int, int, int | bytes]
"""Number, type and count of a tag of a TIFF, and its value or the bytes that it points at."""


@dataclass(frozen=True)
class Hostile:
    """How one of these files is made. `format` is Pillow's name of its format."""

    format: str
    make: Make


def noise(random: random.Random, size: tuple[int, int] = (64, 64)) -> Image.Image:
    """A picture of soft spots."""
    return Image.frombytes("RGB", (8, 8), random.randbytes(192)).resize(size, Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    """The bytes of a file."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def real(format: str, random: random.Random) -> bytes:
    """A healthy picture of one of `FORMATS`."""
    return encoded(noise(random), format)


def mutated(content: bytes, random: random.Random) -> bytes:
    """The file with some bytes changed and, in one half of all cases, a part left out, repeated, or missing at the end."""
    broken = bytearray(content)
    for _ in range(random.choice((1, 4, 16, 64))):
        broken[random.randrange(len(broken))] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
    start = random.randrange(len(broken))
    part = broken[start : start + random.randrange(1, 2 + len(broken) // 4)]
    match random.randrange(6):
        case 0:
            del broken[start : start + len(part)]
        case 1:
            broken[start:start] = part * random.randrange(1, 50)
        case 2:
            del broken[start + 8 :]
    return bytes(broken)


# JPEG


def segment(marker: int, payload: bytes = b"") -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(payload) + 2) + payload


def _jpeg_with(more: bytes) -> Make:
    """`more` between the first two segments."""

    def make(random: random.Random) -> bytes:
        content = real("JPEG", random)
        at = 4 + struct.unpack_from(">H", content, 4)[0]
        return content[:at] + more + content[at:]

    return make


def jpeg_in_scans(random: random.Random, *, more: int = 0, size: tuple[int, int] = (64, 64)) -> bytes:
    """A progressive JPEG of 64 x 64 pixels that says it is of `size`, whose last scan comes `more` times again."""
    content = bytearray(encoded(noise(random), "JPEG", progressive=True, subsampling="4:4:4"))
    struct.pack_into(">HH", content, content.index(b"\xff\xc2") + 5, size[1], size[0])
    return bytes(content[:-2]) + bytes(content[content.rindex(b"\xff\xda") : -2]) * more + b"\xff\xd9"


# PNG


def chunk(name: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def _png_with(name: bytes, more: bytes) -> Make:
    """`more` before the first chunk of that name."""

    def make(random: random.Random) -> bytes:
        content = real("PNG", random)
        at = content.index(name) - 4
        return content[:at] + more + content[at:]

    return make


# EXIF


def exif_that_shares(*, entries: int = 300, size: int = 1_000_000) -> bytes:
    """EXIF whose entries all point at the same bytes."""
    rows = b"".join(struct.pack("<HHII", 40_000 + number, 7, size, 8) for number in range(entries))
    return b"II*\0" + struct.pack("<IH", 8, entries) + rows + bytes(4 + size)


def _jpeg_notes(random: random.Random) -> bytes:
    notes = exif_that_shares()
    parts = [segment(0xE1, b"Exif\0\0" + notes[at : at + 65_000]) for at in range(0, len(notes), 65_000)]
    return _jpeg_with(b"".join(parts))(random)


def _saved_with_notes(format: str) -> Make:
    return lambda random: encoded(noise(random), format, exif=exif_that_shares())


# GIF


def _gif_with(more: bytes) -> Make:
    """`more` between the palette and the first picture."""

    def make(random: random.Random) -> bytes:
        content = real("GIF", random)
        at = 13 + (6 << (content[10] & 7))
        return content[:at] + more + content[at:]

    return make


# WebP


def webp(chunks: bytes) -> bytes:
    return b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def webp_chunk(name: bytes, body: bytes = b"") -> bytes:
    return name + struct.pack("<I", len(body)) + body + bytes(len(body) % 2)


def webp_frames(random: random.Random, *, frames: int) -> bytes:
    """An animation of 8 x 8 pixels whose frames are all alike."""
    frame = encoded(noise(random, (8, 8)), "WEBP", lossless=True)[12:]
    size = b"\x07\0\0\x07\0\0"
    head = webp_chunk(b"VP8X", struct.pack("<I", 2) + size) + webp_chunk(b"ANIM", bytes(6))
    return webp(head + webp_chunk(b"ANMF", bytes(6) + size + bytes(4) + frame) * frames)


def _webp_with(more: bytes) -> Make:
    def make(random: random.Random) -> bytes:
        still = encoded(noise(random), "WEBP", lossless=True)[12:]
        return webp(webp_chunk(b"VP8X", bytes(4) + b"\x3f\0\0\x3f\0\0") + more + still)

    return make


# BMP


def bmp_runs(width: int, height: int, runs: bytes) -> bytes:
    """A BMP of 8 bits with run-length encoded pixels."""
    palette = bytes(range(256)) * 4
    start = 54 + len(palette)
    return (
        b"BM"
        + struct.pack("<IHHI", start + len(runs), 0, 0, start)
        + struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(runs), 0, 0, 256, 0)
        + palette
        + runs
    )


# TIFF

_DATA = 0xDA7A
"""Stands for the place of the pixels in the tags that are given to `tiff`."""


def tiff(width: int, height: int, tags: list[Tag], data: bytes, *, compression: int = 1) -> bytes:
    """A TIFF of RGB pixels. Its layout is in `tags`, where `_DATA` stands for the place of `data`."""
    rows: list[Tag] = [
        (256, 4, 1, width),
        (257, 4, 1, height),
        (258, 3, 3, struct.pack("<3H", 8, 8, 8)),
        (259, 3, 1, compression),
        (262, 3, 1, 2),
        (277, 3, 1, 3),
        *tags,
    ]
    at = 14 + 12 * len(rows)
    outside = b"".join(value for *_, value in rows if isinstance(value, bytes))
    entries = b""
    for tag, kind, count, value in sorted(rows):
        if isinstance(value, bytes):
            entries += struct.pack("<HHII", tag, kind, count, at + outside.index(value))
        else:
            entries += struct.pack("<HHII", tag, kind, count, at + len(outside) if value == _DATA else value)
    return b"II*\0" + struct.pack("<IH", 8, len(rows)) + entries + bytes(4) + outside + data


def _tiff_strips(random: random.Random) -> bytes:
    strips = 400_000
    places = struct.pack(f"<{strips}I", *(8 + n % 7 for n in range(strips)))
    lengths = struct.pack("<I", 192) * strips
    return tiff(64, 64, [(273, 4, strips, places), (278, 4, 1, 1), (279, 4, strips, lengths)], random.randbytes(192))


def tiff_tile(random: random.Random, *, side: int, width: int, height: int) -> bytes:
    """A picture in a single compressed tile of `side` pixels."""
    data = zlib.compress(random.randbytes(3) * side * side, 1)
    tags: list[Tag] = [(322, 4, 1, side), (323, 4, 1, side), (324, 4, 1, _DATA), (325, 4, 1, len(data))]
    return tiff(width, height, tags, data, compression=8)


def _tiff_tags(random: random.Random) -> bytes:
    more: list[Tag] = [(40_000 + number, 4, 1, number) for number in range(20_000)]
    return tiff(64, 64, [(273, 4, 1, _DATA), (279, 4, 1, 64 * 64 * 3), *more], random.randbytes(64 * 64 * 3))


def _tiff_that_shares(random: random.Random) -> bytes:
    pixels = random.randbytes(64 * 64 * 3)
    shared: list[Tag] = [(40_000 + number, 7, 1_000_000, _DATA) for number in range(300)]
    return tiff(64, 64, [(273, 4, 1, _DATA), (279, 4, 1, len(pixels)), *shared], pixels + bytes(1_000_000))


# HEIC and AVIF


def box(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", 8 + len(body)) + name + body


def _full(name: bytes, version: int, *parts: bytes) -> bytes:
    return box(name, bytes((version, 0, 0, 0)), *parts)


@dataclass(frozen=True, kw_only=True)
class Item:
    """An item of a HEIC or AVIF file."""

    kind: bytes
    data: bytes = b""
    pieces: tuple[tuple[int, int], ...] = ()
    """Offset from the start of `data`, and length, of each place that holds its bytes; empty: they are `data`."""
    properties: tuple[bytes, ...] = ()
    references: tuple[tuple[bytes, tuple[int, ...]], ...] = ()
    """Kind of the reference, and the numbers of the other items."""


def iso(brand: bytes, items: list[Item]) -> bytes:
    """A HEIC or AVIF file. Items are numbered from 1; the first one is the picture."""
    properties = list(dict.fromkeys(made for item in items for made in item.properties))
    given = [
        struct.pack(">HB", number, len(item.properties))
        + bytes(0x80 | 1 + properties.index(made) for made in item.properties)
        for number, item in enumerate(items, 1)
        if item.properties
    ]
    references = [
        box(kind, struct.pack(f">HH{len(others)}H", number, len(others), *others))
        for number, item in enumerate(items, 1)
        for kind, others in item.references
    ]
    kinds = [_full(b"infe", 2, struct.pack(">HH", number, 0), item.kind, b"\0") for number, item in enumerate(items, 1)]

    def head(at: int) -> bytes:
        places = b""
        for number, item in enumerate(items, 1):
            pieces = item.pieces or ((0, len(item.data)),)
            places += struct.pack(">HHH", number, 0, len(pieces))
            places += b"".join(struct.pack(">II", at + offset, length) for offset, length in pieces)
            at += len(item.data)
        meta = [
            _full(b"hdlr", 0, bytes(4), b"pict", bytes(13)),
            _full(b"pitm", 0, struct.pack(">H", 1)),
            _full(b"iloc", 0, b"\x44\0", struct.pack(">H", len(items)), places),
            _full(b"iinf", 0, struct.pack(">H", len(items)), *kinds),
            box(b"iprp", box(b"ipco", *properties), _full(b"ipma", 0, struct.pack(">I", len(given)), *given)),
            *([_full(b"iref", 0, *references)] if references else []),
        ]
        return box(b"ftyp", brand, bytes(4), brand, b"mif1miaf") + _full(b"meta", 0, *meta)

    return head(len(head(0)) + 8) + box(b"mdat", *(item.data for item in items))


_CODED = {"HEIF": (b"heic", b"hvc1", b"hvcC"), "AVIF": (b"avif", b"av01", b"av1C")}
"""The brand of a file, the kind of its coded items, and the property with their configuration."""


_FASTEST: dict[str, dict[str, object]] = {"HEIF": {"enc_params": {"preset": "ultrafast"}}, "AVIF": {"speed": 10}}


def _boxed(content: bytes, name: bytes) -> bytes:
    at = content.index(name) - 4
    return content[at : at + struct.unpack_from(">I", content, at)[0]]


def _size(width: int, height: int) -> bytes:
    return _full(b"ispe", 0, struct.pack(">II", width, height))


def coded(format: str, random: random.Random, *, side: int, declared: int | None = None) -> Item:
    """An item with a picture of `side` pixels, which says that it has `declared`."""
    content = encoded(noise(random, (side, side)), format, **_FASTEST[format])
    _, kind, configuration = _CODED[format]
    size = _size(declared or side, declared or side)
    return Item(kind=kind, data=_boxed(content, b"mdat")[8:], properties=(_boxed(content, configuration), size))


def _iso_of(format: str, *more: Item, side: int = 64, declared: int | None = None) -> Make:
    return lambda random: iso(_CODED[format][0], [coded(format, random, side=side, declared=declared), *more])


def _one_tile_again_and_again(format: str) -> Make:
    """A grid of 31 x 31 tiles, all the same item, behind a picture of 64 x 64."""

    def make(random: random.Random) -> bytes:
        layout = struct.pack(">BBBBHH", 0, 0, 30, 30, 64, 64)
        tiles = ((b"dimg", (2,) * 31 * 31),)
        grid = Item(kind=b"grid", data=layout, properties=(_size(64, 64),), references=tiles)
        return iso(_CODED[format][0], [grid, coded(format, random, side=512)])

    return make


_NOTES = Item(kind=b"Exif", data=bytes(4) + b"Exif\0\0II*\0" + bytes(1_000_000), references=((b"cdsc", (1,)),))
_SAME_NOTES = Item(kind=b"Exif", pieces=((-len(_NOTES.data), len(_NOTES.data)),), references=((b"cdsc", (1,)),))


HOSTILE: dict[str, Hostile] = {
    "JPEG with 200 more scans": Hostile("JPEG", lambda random: jpeg_in_scans(random, more=200, size=(4000, 3000))),
    "JPEG of 110 million pixels in several scans": Hostile(
        "JPEG", lambda random: jpeg_in_scans(random, size=(11_000, 10_000))
    ),
    "JPEG with 120 notes of a camera": Hostile("JPEG", _jpeg_with(segment(0xE1, b"Exif\0\0" + bytes(65_000)) * 120)),
    "JPEG with 500,000 empty segments": Hostile("JPEG", _jpeg_with(segment(0xFE) * 500_000)),
    "JPEG with a million markers of its end": Hostile("JPEG", _jpeg_with(b"\xff\xd9" * 1_000_000)),
    "JPEG with 5 MB of fill bytes": Hostile("JPEG", _jpeg_with(b"\xff" * 5_000_000)),
    "JPEG that ends in 5 MB of fill bytes": Hostile(
        "JPEG", lambda _: b"\xff\xd8" + segment(0xFE) + b"\xff" * 5_000_000
    ),
    "JPEG with 5 MB of nothing": Hostile("JPEG", _jpeg_with(bytes(5_000_000))),
    "PNG with 300,000 empty chunks": Hostile("PNG", _png_with(b"IDAT", chunk(b"abCd") * 300_000)),
    "PNG with 300,000 texts after the pixels": Hostile("PNG", _png_with(b"IEND", chunk(b"tEXt", b"a\0b") * 300_000)),
    "PNG with 300,000 empty chunks of pixels": Hostile("PNG", _png_with(b"IDAT", chunk(b"IDAT") * 300_000)),
    "PNG with 3,000 profiles of a megabyte": Hostile(
        "PNG", _png_with(b"IDAT", chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(1_000_000))) * 3_000)
    ),
    "GIF with a million comments": Hostile("GIF", _gif_with(b"\x21\xfe\1A\0" * 1_000_000)),
    "GIF with a comment in a million blocks": Hostile("GIF", _gif_with(b"\x21\xfe" + b"\1A" * 1_000_000 + b"\0")),
    "GIF with a million empty notes": Hostile("GIF", _gif_with(b"\x21\1\0" * 1_000_000)),
    "GIF with 5 MB of nothing": Hostile("GIF", _gif_with(bytes(5_000_000))),
    "WebP with 100,000 frames": Hostile("WEBP", lambda random: webp_frames(random, frames=100_000)),
    "WebP with a million chunks": Hostile("WEBP", _webp_with(webp_chunk(b"ABCD") * 1_000_000)),
    "BMP with 10 million runs": Hostile("BMP", lambda random: bmp_runs(4000, 4000, b"\1\0" * 10_000_000 + b"\0\1")),
    "TIFF with 400,000 strips": Hostile("TIFF", _tiff_strips),
    "TIFF with a tile of 8192 x 8192 behind 64 x 64": Hostile(
        "TIFF", lambda random: tiff_tile(random, side=8192, width=64, height=64)
    ),
    "TIFF with 20,000 tags": Hostile("TIFF", _tiff_tags),
    "HEIC with 1100 x 1100 behind 64 x 64": Hostile("HEIF", _iso_of("HEIF", side=1100, declared=64)),
    "HEIC with a grid of 961 times the same tile": Hostile("HEIF", _one_tile_again_and_again("HEIF")),
    "HEIC with 900 notes made of the same megabyte": Hostile("HEIF", _iso_of("HEIF", _NOTES, *[_SAME_NOTES] * 900)),
    "HEIC with a note in 20,000 places": Hostile(
        "HEIF", _iso_of("HEIF", Item(kind=b"Exif", data=_NOTES.data, pieces=((0, 1_000_000),) * 20_000))
    ),
    "AVIF with 2048 x 2048 behind 64 x 64": Hostile("AVIF", _iso_of("AVIF", side=2048, declared=64)),
    "AVIF with a grid of 961 times the same tile": Hostile("AVIF", _one_tile_again_and_again("AVIF")),
    "AVIF with 10,000 items": Hostile(
        "AVIF", _iso_of("AVIF", *[Item(kind=b"abcd", properties=(_size(8, 8),))] * 10_000)
    ),
    # 300 tags of a TIFF, or entries of EXIF, that are all made of the same megabyte.
    "TIFF with 300 tags made of the same megabyte": Hostile("TIFF", _tiff_that_shares),
    "JPEG with 300 notes made of the same megabyte": Hostile("JPEG", _jpeg_notes),
    **{
        f"{format} with 300 notes made of the same megabyte": Hostile(format, _saved_with_notes(format))
        for format in ("PNG", "WEBP", "HEIF", "AVIF")
    },
}
"""Each of these files would take seconds of processor time, or hundreds of megabytes, of a decoder without limits, or did with older
libraries."""
