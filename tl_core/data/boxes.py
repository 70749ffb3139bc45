"""What a HEIC or AVIF file is made of, read from its boxes before anything decodes it: items, their bytes, their coded pixels.

Both kinds of file (ISO/IEC 23008-12) are trees of boxes, which list items. The picture is one item, or a grid of others. An item
names the places of the file that hold its bytes, and has properties, such as the size that it declares. An AVIF animation has tracks
beside the items, of which the first sample is decoded.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tl_core.data.parts import at_most
from tl_core.errors import UnreadableImage

MOST_ITEMS = 2_000
"""Items. A photo of 200 million pixels in tiles of 512 x 512, with a second grid for its brightness, has about a thousand."""
MOST_ENTRIES = 20_000
"""Boxes beside each other, properties that are given to items, references between items, and places that hold their bytes."""
MOST_FRAMES = 100_000
"""Samples of a track: an hour of animation."""
MOST_CODED = 128_000_000
"""Pixels that are decoded for one picture. Tiles reach over its edges, and its transparency is a picture of its own."""
MOST_UNITS = 10_000
"""Units of a picture: one of AV1 has up to 4,096 tiles, and one of HEVC up to 600 slices."""
MOST_SETS = 100
"""Parameter sets in the configuration of an HEVC picture: the standard has numbers for 96, and encoders write three."""

_SMALL = 1_000_000
"""Pixels, and bytes, that cost too little to be compared with what is declared, and with the size of the file."""
_DERIVED = frozenset({b"grid", b"iovl", b"iden"})
_STREAMS = frozenset({b"av01", b"hvc1", b"hev1"})
_SEQUENCE = 33
"""Type of a unit of HEVC that holds a sequence parameter set."""
_DEEPEST = 8

Span = tuple[int, int]
"""Start and end of a part of the file, in bytes."""


@dataclass
class _Item:
    kind: bytes = b""
    bytes_at: list[Span] = field(default_factory=list)
    declared: int = 0
    """Pixels, as width times height of its property `ispe`."""
    configuration: Span = (0, 0)
    """Where its property `hvcC` is."""
    made_of: list[int] = field(default_factory=list)
    """Numbers of the items that are decoded with it: the tiles of a grid, and the transparency."""


def heif(content: bytes) -> None:
    """Count items, properties and places, and compare the pixels that would be decoded with those that are declared.

    Raises:
        UnreadableImage: there are too many, several items are made of the same bytes, or the boxes cannot be read.
    """
    try:
        top = _inside(content, (0, len(content)))
        if meta := _only(top, b"meta"):
            _check_items(content, meta)
        if movie := _only(top, b"moov"):
            for track in _inside(content, movie)[b"trak"]:
                _check_track(content, track)
    except (struct.error, IndexError) as error:
        raise _damaged() from error


def _damaged() -> UnreadableImage:
    return UnreadableImage("The picture is damaged or cut off: its header cannot be read.", "truncated")


def _boxes(content: bytes, span: Span) -> Iterator[tuple[bytes, Span]]:
    """The boxes that stand beside each other in `span`: name, and where the content of each one is."""
    at, end = span
    number = 0
    while at + 8 <= end:
        number += 1
        at_most(MOST_ENTRIES, number, "boxes")
        size, name = struct.unpack_from(">I4s", content, at)
        body = at + 8
        if size == 1:
            (size,) = struct.unpack_from(">Q", content, body)
            body += 8
        stop = end if size == 0 else at + size
        if stop < body:
            raise _damaged()
        yield name, (body, min(stop, end))
        at = stop


def _inside(content: bytes, span: Span) -> dict[bytes, list[Span]]:
    found = defaultdict(list)
    for name, box in _boxes(content, span):
        found[name].append(box)
    return found


def _only(boxes: dict[bytes, list[Span]], name: bytes) -> Span | None:
    """The box of that name, of which there may be one: decoders differ in which of two they read."""
    found = boxes.get(name, [])
    if len(found) > 1:
        raise _damaged()
    return found[0] if found else None


class _Numbers:
    """Reads big-endian numbers from a part of a file, one after the other; IndexError at its end."""

    def __init__(self, content: bytes, span: Span) -> None:
        self._content = content
        self.at, self._end = span

    def next(self, size: int) -> int:
        start, self.at = self.at, self.at + size
        if self.at > self._end:
            raise IndexError(self.at)
        return int.from_bytes(self._content[start : self.at], "big")

    def header(self) -> tuple[int, int]:
        """Version and flags, with which many boxes begin."""
        return self.next(1), self.next(3)


def _check_items(content: bytes, meta: Span) -> None:
    boxes = _inside(content, (meta[0] + 4, meta[1]))
    items: dict[int, _Item] = defaultdict(_Item)
    if span := _only(boxes, b"iinf"):
        _read_kinds(content, span, items)
    if span := _only(boxes, b"iloc"):
        _read_places(content, span, _only(boxes, b"idat"), items)
    if span := _only(boxes, b"iref"):
        _read_references(content, span, items)
    if span := _only(boxes, b"iprp"):
        _read_sizes(content, span, items)
    at_most(MOST_ITEMS, len(items), "items")
    if sum(end - start for item in items.values() for start, end in item.bytes_at) > 2 * len(content) + _SMALL:
        raise UnreadableImage(
            "The picture is damaged: its parts are made of the same bytes again and again.", "too_large"
        )
    if span := _only(boxes, b"pitm"):
        numbers = _Numbers(content, span)
        version, _ = numbers.header()
        picture = numbers.next(4 if version else 2)
        _compare(_decoded(content, items, picture, {}), items[picture].declared)


def _read_kinds(content: bytes, span: Span, items: dict[int, _Item]) -> None:
    numbers = _Numbers(content, span)
    version, _ = numbers.header()
    start = numbers.at + (4 if version else 2)
    for _, entry in _boxes(content, (start, span[1])):
        numbers = _Numbers(content, entry)
        version, _ = numbers.header()
        item = items[numbers.next(4 if version == 3 else 2)]
        if item.kind:
            raise _damaged()
        item.kind = content[numbers.at + 2 : numbers.at + 6]


def _read_places(content: bytes, span: Span, inside: Span | None, items: dict[int, _Item]) -> None:
    numbers = _Numbers(content, span)
    version, _ = numbers.header()
    sizes = numbers.next(2)
    offset_size, length_size, base_size, index_size = (sizes >> shift & 15 for shift in (12, 8, 4, 0))
    pieces = 0
    for _ in range(numbers.next(4 if version == 2 else 2)):
        item = items[numbers.next(4 if version == 2 else 2)]
        method = numbers.next(2) & 15 if version else 0
        first = inside[0] if method == 1 and inside else 0
        numbers.next(2)
        base = numbers.next(base_size)
        count = numbers.next(2)
        pieces += 1 + count
        at_most(MOST_ENTRIES, pieces, "places of its bytes")
        for _ in range(count):
            numbers.next(index_size if version else 0)
            start = min(first + base + numbers.next(offset_size), len(content))
            length = numbers.next(length_size)
            item.bytes_at.append((start, min(start + length, len(content)) if length else len(content)))


def _read_references(content: bytes, span: Span, items: dict[int, _Item]) -> None:
    size = 4 if _Numbers(content, span).header()[0] else 2
    references = 0
    for name, entry in _boxes(content, (span[0] + 4, span[1])):
        numbers = _Numbers(content, entry)
        source = numbers.next(size)
        count = numbers.next(2)
        references += count
        at_most(MOST_ENTRIES, references, "references")
        for _ in range(count):
            target = numbers.next(size)
            if name == b"dimg":
                items[source].made_of.append(target)
            elif name == b"auxl":
                items[target].made_of.append(source)


def _read_sizes(content: bytes, span: Span, items: dict[int, _Item]) -> None:
    boxes = _inside(content, span)
    shared = _only(boxes, b"ipco")
    properties = list(_boxes(content, shared)) if shared else []
    given = 0
    for box in boxes[b"ipma"]:
        numbers = _Numbers(content, box)
        version, flags = numbers.header()
        for _ in range(numbers.next(4)):
            item = items[numbers.next(4 if version else 2)]
            count = numbers.next(1)
            given += 1 + count
            at_most(MOST_ENTRIES, given, "properties")
            for _ in range(count):
                index = numbers.next(2) & 0x7FFF if flags & 1 else numbers.next(1) & 0x7F
                name, value = properties[index - 1] if index else (b"", (0, 0))
                if name == b"ispe":
                    if item.declared:
                        raise _damaged()
                    width, height = struct.unpack_from(">II", content, value[0] + 4)
                    item.declared = width * height
                elif name == b"hvcC":
                    item.configuration = value


def _decoded(content: bytes, items: dict[int, _Item], number: int, known: dict[int, int], depth: int = 0) -> int:
    """Pixels that are decoded for an item: its own, or those of all items that it is made of."""
    if depth > _DEEPEST:
        raise _damaged()
    if number not in known:
        known[number] = 0
        item = items[number]
        own = 0 if item.kind in _DERIVED else item.declared
        stream = b"".join(content[start:end] for start, end in item.bytes_at) if item.kind in _STREAMS else b""
        if item.kind == b"av01":
            own = max(own, _coded_av1(stream))
        elif stream:
            own = max(own, _coded_hevc(content, item.configuration, stream))
        known[number] = own + sum(_decoded(content, items, part, known, depth + 1) for part in item.made_of)
    return known[number]


def _check_track(content: bytes, track: Span) -> None:
    boxes = _inside(content, track)
    header = _only(boxes, b"tkhd")
    for name in (b"mdia", b"minf", b"stbl"):
        inner = _only(boxes, name)
        boxes = _inside(content, inner) if inner else {}
    sizes, chunks = _only(boxes, b"stsz"), _only(boxes, b"stco") or _only(boxes, b"co64")
    if not header or not sizes or not chunks:
        return
    width, height = struct.unpack_from(">II", content, header[1] - 8)
    same, samples = struct.unpack_from(">II", content, sizes[0] + 4)
    at_most(MOST_FRAMES, samples, "frames")
    first = same or struct.unpack_from(">I", content, sizes[0] + 12)[0]
    (start,) = struct.unpack_from(">I" if b"stco" in boxes else ">Q", content, chunks[0] + 8)
    start = min(start, len(content))
    _compare(_coded_av1(content[start : start + first]), (width >> 16) * (height >> 16))


def _compare(decoded: int, declared: int) -> None:
    # Even a grid of two by two tiles, each of which reaches over the edge with nearly all its pixels, has less than four times as many.
    if decoded > 4 * declared + _SMALL:
        raise UnreadableImage(
            f"The picture says that it has {declared:,} pixels, but it would decode to {decoded:,}. "
            "Open it in another program and save it again.",
            "too_large",
        )
    at_most(MOST_CODED, decoded, "pixels in its parts")


def _coded_av1(units: bytes) -> int:
    """The most pixels that a frame of an AV1 stream may have by its sequence headers (section 5.5 of its specification)."""
    at, number, most = 0, 0, 0
    while at < len(units):
        number += 1
        at_most(MOST_UNITS, number, "units")
        header = units[at]
        at += 2 if header & 4 else 1
        size = len(units) - at
        if header & 2:
            size = shift = 0
            while True:
                size |= (units[at] & 0x7F) << shift
                at, shift = at + 1, shift + 7
                if shift > 56 or not units[at - 1] & 0x80:
                    break
        if header >> 3 & 15 == 1:
            most = max(most, _av1_frame(units[at : at + 1024]))
        at += size
    return most


def _coded_hevc(content: bytes, configuration: Span, stream: bytes) -> int:
    """The most pixels of a picture by the sequence parameter sets of its configuration (box `hvcC`) and of its stream."""
    sets = []
    numbers = _Numbers(content, (configuration[0] + 21, configuration[1]))
    length_size = (numbers.next(1) & 3) + 1
    for _ in range(numbers.next(1)):
        numbers.next(1)
        for _ in range(numbers.next(2)):
            length = numbers.next(2)
            sets.append(content[numbers.at : numbers.at + min(length, 1024)])
            at_most(MOST_SETS, len(sets), "parameter sets")
            numbers.next(length)
    at = 0
    while at + length_size < len(stream):
        length = int.from_bytes(stream[at : at + length_size], "big")
        at += length_size
        sets.append(stream[at : at + min(length, 1024)])
        at_most(MOST_UNITS, len(sets), "units")
        at += length
    return max((_hevc_frame(unit) for unit in sets if unit and unit[0] >> 1 & 63 == _SEQUENCE), default=0)


class _Bits:
    """Reads the bits of a sequence header, the highest of each byte first; a bit past the end is 0."""

    def __init__(self, content: bytes) -> None:
        self._value = int.from_bytes(content, "big")
        self._left = 8 * len(content)

    def next(self, count: int) -> int:
        self._left -= count
        value = self._value >> self._left if self._left >= 0 else 0
        return value & ((1 << count) - 1)

    def counted(self) -> int:
        """A number with as many zeros before it as it has bits after its first 1 (Exp-Golomb, `uvlc`)."""
        zeros = 0
        while zeros < 32 and not self.next(1):
            zeros += 1
        return (1 << zeros) + self.next(zeros) - 1


def _av1_frame(header: bytes) -> int:
    bits = _Bits(header)
    bits.next(4)
    if bits.next(1):  # reduced_still_picture_header
        bits.next(5)
    else:
        buffer_delay = _skip_timing(bits)
        delays = bits.next(1)
        for _ in range(bits.next(5) + 1):
            bits.next(12)
            if bits.next(5) > 7:
                bits.next(1)
            if buffer_delay and bits.next(1):
                bits.next(2 * buffer_delay + 1)
            if delays and bits.next(1):
                bits.next(4)
    across, down = bits.next(4) + 1, bits.next(4) + 1
    return (bits.next(across) + 1) * (bits.next(down) + 1)


def _skip_timing(bits: _Bits) -> int:
    """Skip timing and decoder model; the length of a buffer delay, in bits, or 0 if there is none."""
    if not bits.next(1):
        return 0
    bits.next(64)
    if bits.next(1):
        bits.counted()
    if not bits.next(1):
        return 0
    length = bits.next(5) + 1
    bits.next(42)
    return length


def _hevc_frame(unit: bytes) -> int:
    """Pixels of a picture by a sequence parameter set (section 7.3.2.2 of ITU-T H.265)."""
    bits = _Bits(unit[2:1024].replace(b"\0\0\3", b"\0\0"))
    bits.next(4)
    layers = bits.next(3)
    bits.next(1 + 96)
    described = [(bits.next(1), bits.next(1)) for _ in range(layers)]
    bits.next(2 * (8 - layers) if layers else 0)
    for profile, level in described:
        bits.next(88 * profile + 8 * level)
    bits.counted()
    if bits.counted() == 3:  # chroma_format_idc
        bits.next(1)
    return bits.counted() * bits.counted()
