"""Files that cost far more than a picture are refused before a decoder sees them; unusual pictures of cameras and scanners are read."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from contextlib import suppress

import pytest
from PIL import Image

from tests import hostile
from tests.conftest import picture
from tests.hostile import HOSTILE, SHARING, encoded, noise
from tl_core.data.formats import READ
from tl_core.data.pixels import decode
from tl_core.errors import UnreadableImage

SEED = 7


@pytest.mark.parametrize("name", HOSTILE)
def test_a_file_that_costs_far_more_than_a_picture_is_refused_before_it_is_opened(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = HOSTILE[name].make(random.Random(SEED))
    monkeypatch.setattr(Image, "open", lambda *_, **__: pytest.fail("a decoder has seen it"))
    with pytest.raises(UnreadableImage, match=r"The picture .+\.") as caught:
        decode(content)
    assert caught.value.reason == "too_large"


def test_every_format_that_is_read_has_its_structure_looked_at_and_a_hostile_file() -> None:
    assert all(row.structure for row in READ)
    assert {row.format for row in HOSTILE.values()} == set(hostile.FORMATS)


@pytest.mark.parametrize("format", hostile.FORMATS)
def test_a_healthy_picture_of_every_format_is_read(format: str) -> None:
    assert decode(hostile.real(format, random.Random(SEED))).size == (64, 64)


def generator() -> random.Random:
    return random.Random(SEED)


def photo_before_a_film() -> bytes:
    photo = encoded(noise(generator()), "JPEG", progressive=True)
    return photo + b"\xff\xda\0\x0c" * 1_000 + generator().randbytes(1_000_000)


def phone_photo_with_a_depth_map() -> bytes:
    photo = encoded(noise(generator()), "JPEG", icc_profile=generator().randbytes(1_000_000))
    return photo[:2] + hostile.segment(0xE1, b"http://ns.adobe.com/xmp/extension/\0" + bytes(65_000)) * 100 + photo[2:]


def png_in_small_chunks() -> bytes:
    content = hostile.real("PNG", generator())
    start = content.index(b"IDAT") - 4
    length = struct.unpack_from(">I", content, start)[0]
    pixels = content[start + 8 : start + 8 + length]
    chunks = b"".join(hostile.chunk(b"IDAT", pixels[at : at + 1]) for at in range(length))
    return content[:start] + chunks + content[start + 12 + length :]


def animated(format: str, frames: int) -> bytes:
    pictures = [noise(generator(), (16, 16)).rotate(turn) for turn in range(frames)]
    return encoded(pictures[0], format, save_all=True, append_images=pictures[1:])


def microscopy_in_tiles() -> bytes:
    side, across = 64, 40
    data = generator().randbytes(side * side * 3)
    places = struct.pack(f"<{across * across}I", *[8] * across * across)
    lengths = struct.pack("<I", len(data)) * across * across
    tags = [
        (322, 4, 1, side),
        (323, 4, 1, side),
        (324, 4, across * across, places),
        (325, 4, across * across, lengths),
    ]
    return hostile.tiff(side * across, side * across, tags, data)


def avif_that_names_its_kind_late() -> bytes:
    content = hostile.real("AVIF", generator())
    return content.replace(b"ftypavif", b"ftypmif1", 1)


def bitmap_without_file_header() -> bytes:
    return encoded(noise(generator()), "DIB")


def scan_of_ten_thousand_rows(**options: object) -> bytes:
    tags = {278: 1}  # rows in each strip
    return encoded(noise(generator(), (8, 10_000)), "TIFF", tiffinfo=tags, **options)


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: hostile.jpeg_in_scans(generator(), more=60), id="optimised JPEG with 70 scans"),
        photo_before_a_film,
        pytest.param(
            lambda: hostile.jpeg_in_scans(generator())[:-2] + b"\xff" * 5_000_000 + b"\xd9",
            id="JPEG in scans with 5 MB of fill bytes before its end",
        ),
        pytest.param(
            lambda: hostile.jpeg_in_scans(generator()) + b"\xff" * 5_000_000, id="JPEG in scans before 5 MB of 0xff"
        ),
        phone_photo_with_a_depth_map,
        pytest.param(
            lambda: encoded(noise(generator()), "MPO", save_all=True, append_images=[picture(0, n) for n in range(3)]),
            id="photo with three more pictures",
        ),
        png_in_small_chunks,
        pytest.param(lambda: animated("PNG", 100), id="animated PNG"),
        pytest.param(lambda: animated("GIF", 50), id="animated GIF"),
        pytest.param(
            lambda: encoded(noise(generator()), "GIF", comment=b"x" * 1_000_000), id="GIF with a long comment"
        ),
        pytest.param(lambda: hostile.webp_frames(generator(), frames=5_000), id="WebP with 5,000 frames"),
        pytest.param(lambda: hostile.bmp_runs(64, 64, (b"\x40\7" + b"\0\0") * 64 + b"\0\1"), id="BMP with runs"),
        bitmap_without_file_header,
        scan_of_ten_thousand_rows,
        pytest.param(lambda: scan_of_ten_thousand_rows(compression="tiff_lzw"), id="compressed scan in rows"),
        pytest.param(lambda: scan_of_ten_thousand_rows(big_tiff=True), id="BigTIFF"),
        microscopy_in_tiles,
        pytest.param(
            lambda: hostile.tiff_tile(generator(), side=1024, width=64, height=64), id="small picture in a usual tile"
        ),
        pytest.param(
            lambda: encoded(noise(generator(), (512, 384)), "HEIF", tile_size=64), id="HEIC with a grid of 48 tiles"
        ),
        pytest.param(
            lambda: encoded(noise(generator(), (65, 65)), "HEIF", tile_size=64), id="HEIC with tiles over its edges"
        ),
        pytest.param(lambda: encoded(noise(generator()).convert("RGBA"), "HEIF"), id="HEIC with transparency"),
        pytest.param(
            lambda: encoded(noise(generator()), "HEIF", save_all=True, append_images=[picture(0, n) for n in range(9)]),
            id="HEIC of a burst",
        ),
        pytest.param(lambda: encoded(noise(generator()).convert("RGBA"), "AVIF"), id="AVIF with transparency"),
        pytest.param(lambda: animated("AVIF", 10), id="animated AVIF"),
        avif_that_names_its_kind_late,
    ],
)
def test_an_unusual_picture_is_read(make: Callable[[], bytes]) -> None:
    assert decode(make()).mode == "RGB"


def test_a_tiff_that_says_twice_how_wide_it_is_is_refused() -> None:
    pixels = generator().randbytes(64 * 64 * 3)
    content = hostile.tiff(64, 64, [(273, 4, 1, 8), (279, 4, 1, len(pixels)), (256, 4, 1, 8192)], pixels)
    with pytest.raises(UnreadableImage, match="twice"):
        decode(content)


def test_tiles_are_compared_with_the_picture_in_both_byte_orders_and_in_bigtiff() -> None:
    def header(order: str, big: bool) -> bytes:
        mark = (b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42)
        tags = [(256, 64), (257, 64), (322, 8192), (323, 8192), (324, 8), (325, 8)]
        if big:
            rows = b"".join(struct.pack(order + "HHQI4x", tag, 4, 1, value) for tag, value in tags)
            return mark + struct.pack(order + "HHQQ", 8, 0, 16, len(tags)) + rows + bytes(8)
        rows = b"".join(struct.pack(order + "HHII", tag, 4, 1, value) for tag, value in tags)
        return mark + struct.pack(order + "IH", 8, len(tags)) + rows + bytes(4)

    for order, big in (("<", False), (">", False), ("<", True)):
        with pytest.raises(UnreadableImage, match="tiles of 8,192 x 8,192"):
            decode(header(order, big))


def test_a_compressed_text_in_a_png_may_not_unpack_to_gigabytes() -> None:
    content = hostile.real("PNG", generator())
    bomb = hostile.chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(20_000_000)))
    at = content.index(b"IDAT") - 4
    with pytest.raises(UnreadableImage):
        decode(content[:at] + bomb + content[at:])


@pytest.mark.parametrize("format", SHARING)
@pytest.mark.filterwarnings("ignore:Tag data larger than file")
def test_notes_that_are_all_made_of_the_same_bytes_do_not_fill_the_memory(format: str) -> None:
    content = SHARING[format].make(generator())
    tracemalloc.start()
    try:
        with suppress(UnreadableImage):
            decode(content)
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
