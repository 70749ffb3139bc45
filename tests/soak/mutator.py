"""Breaks files at random, so that the same seed gives the same files everywhere, and builds archives that were made to do harm."""

import io
import os
import random
import re
import stat
import struct
import zipfile
from collections.abc import Callable, Mapping

from tests import hostile

Mutation = Callable[[bytes, bytes, random.Random], bytes]
"""Takes a healthy file, a healthy file of another format, and random numbers."""


def _bit_flips(content: bytes, _: bytes, random: random.Random) -> bytes:
    broken = bytearray(content)
    for _ in range(random.choice((1, 2, 8, 100))):
        broken[random.randrange(len(broken))] ^= 1 << random.randrange(8)
    return bytes(broken)


def _truncation(content: bytes, _: bytes, random: random.Random) -> bytes:
    return content[: random.randrange(1, len(content))]


def _splice(content: bytes, other: bytes, random: random.Random) -> bytes:
    return content[: random.randrange(1, len(content))] + other[random.randrange(len(other)) :]


def _lengths(content: bytes, _: bytes, random: random.Random) -> bytes:
    """Numbers that may be lengths (below the size of the file) become extreme ones."""
    broken = bytearray(content)
    order = random.choice("<>")
    width, extremes = random.choice((("H", (0, 1, 0x7FFF, 0xFFFF)), ("I", (0, 1, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 20))))
    size = struct.calcsize(order + width)
    places = [
        at
        for at in range(min(len(content) - size, 4_000))
        if 0 < struct.unpack_from(order + width, content, at)[0] <= len(content)
    ]
    for at in random.sample(places, min(len(places), random.choice((1, 2, 5)))):
        struct.pack_into(order + width, broken, at, random.choice(extremes))
    return bytes(broken)


def _duplication(content: bytes, _: bytes, random: random.Random) -> bytes:
    start = random.randrange(len(content))
    part = content[start : start + random.choice((8, 64, 512, 4_096))]
    return content[:start] + part * random.choice((2, 10, 1_000)) + content[start:]


def _other_header(content: bytes, other: bytes, random: random.Random) -> bytes:
    length = random.choice((4, 8, 16, 32))
    return other[:length] + content[length:]


def _zeros(content: bytes, _: bytes, random: random.Random) -> bytes:
    start = random.randrange(len(content))
    length = random.randrange(1, 2 + (len(content) - start))
    return content[:start] + bytes(length) + content[start + length :]


MUTATIONS: Mapping[str, Mutation] = {
    "bits": _bit_flips,
    "cut": _truncation,
    "splice": _splice,
    "lengths": _lengths,
    "repeated": _duplication,
    "header": _other_header,
    "zeros": _zeros,
    "mixed": lambda content, _, random: hostile.mutated(content, random),
}

ESCAPED = "escaped-the-archive"
"""In the name of each file that an archive tries to write elsewhere; no file may have it once the archive was read."""
Archive = Callable[[dict[str, bytes], random.Random], bytes]
"""Takes healthy pictures by their paths, and random numbers."""


def zipped(files: Mapping[str, bytes], *, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _named(*names: str) -> Archive:
    """The pictures, and one under each of these names."""
    return lambda files, _: zipped(files | dict.fromkeys(names, next(iter(files.values()))))


def _link(files: dict[str, bytes], _: random.Random) -> bytes:
    buffer = io.BytesIO(zipped(files))
    with zipfile.ZipFile(buffer, "a") as archive:
        entry = zipfile.ZipInfo("cup/link.jpg")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, "/etc/passwd")
    return buffer.getvalue()


def _patched(pattern: bytes, offset: int, value: bytes) -> Archive:
    """`value` at `offset` behind every mark `pattern`."""

    def make(files: dict[str, bytes], _: random.Random) -> bytes:
        content = bytearray(zipped(files))
        for found in list(re.finditer(re.escape(pattern), content)):
            content[found.start() + offset : found.start() + offset + len(value)] = value
        return bytes(content)

    return make


_LOCAL, _CENTRAL, _END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"


def _two_ends(files: dict[str, bytes], random: random.Random) -> bytes:
    good, other = zipped(files), zipped({f"../{ESCAPED}.jpg": random.randbytes(100)})
    return good + other[other.index(_CENTRAL) :]


def _zip64(files: dict[str, bytes], _: random.Random) -> bytes:
    good = zipped(files)
    at = good.index(_END)
    record = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 45, 45, 0, 0, 1, 1, 1 << 40, 0)
    locator = struct.pack("<IIQI", 0x07064B50, 0, at, 1)
    return good[:at] + record + locator + good[at : at + 10] + b"\xff" * 10 + good[at + 20 :]


ARCHIVES: Mapping[str, Archive] = {
    "paths that climb": _named(
        *(f"{'../' * steps}{ESCAPED}.jpg" for steps in range(1, 10)), f"cup/../../{ESCAPED}.jpg"
    ),
    "paths that climb with backslashes": _named(*("..\\" * steps + f"{ESCAPED}.jpg" for steps in range(1, 10))),
    "absolute paths": lambda files, random: _named(f"{os.environ['TMPDIR']}/{ESCAPED}.jpg")(files, random),
    "paths of another system": _named("C:\\absolute.jpg", "\\\\server\\share\\x.jpg"),
    "names with control characters": _named("cup/\x1b[2J\u202egpj.jpg", "cu\x7fp/\u2066x.jpg"),
    "names of 4,000 characters": _named("cup/" + "x" * 4_000 + ".jpg", "y" * 4_000 + "/1.jpg"),
    "folders 150 deep": _named("a/" * 150 + "1.jpg"),
    "a link": _link,
    "an archive within": lambda files, _: zipped(files | {"cup/more.zip": zipped(files)}),
    "a file of 100 MB in 100 KB": lambda files, _: zipped(files | {"cup/big.bmp": b"BM" + bytes(100_000_000)}),
    "60,000 names": lambda files, _: zipped(files | {f"cup/{number}.jpg": b"" for number in range(60_000)}, method=0),
    "one name many times": lambda files, _: zipped(files)[:-22] + zipped(files),
    "a password": _patched(_CENTRAL, 8, b"\1\0"),
    "an unknown method": _patched(_CENTRAL, 10, b"\x63\0"),
    "declared sizes of nothing": _patched(_CENTRAL, 24, bytes(4)),
    "declared sizes of 4 GB": _patched(_CENTRAL, 20, b"\xfe\xff\xff\xff\xfe\xff\xff\xff"),
    "all names at the same bytes": _patched(_CENTRAL, 42, bytes(4)),
    "names with nothing behind": _patched(_LOCAL, 0, b"PK\0\0"),
    "a long directory": _patched(_END, 12, b"\xff\xff\xff\x7f"),
    "two end marks": _two_ends,
    "a record of Zip64 that lies": _zip64,
    "a program before it": lambda files, random: b"MZ" + random.randbytes(5_000) + zipped(files),
    "nothing": lambda files, random: zipped({}),
    "no zip": lambda files, random: b"PK\x03\x04" + random.randbytes(2_000),
}
"""Archives that were made to do harm, or look as if."""
