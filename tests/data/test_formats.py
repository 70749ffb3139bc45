"""One table of image formats: what a row says is what folders, decoder, messages and documents go by."""

import io
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import picture
from tl_core.data import formats
from tl_core.data.formats import FORMATS, READ, ImageFormat, recognised

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.parametrize("row", READ, ids=lambda row: row.name)
def test_a_file_of_each_format_that_is_read_is_recognised(row: ImageFormat) -> None:
    buffer = io.BytesIO()
    picture(0, 0).save(buffer, row.pillow[0])
    assert recognised(buffer.getvalue()) is row
    assert recognised(buffer.getvalue()[: formats.HEAD_BYTES]) is row


def test_what_only_begins_alike_is_not_taken_for_a_picture() -> None:
    sound = b"RIFF\x24\0\0\0WAVEfmt "
    for content in (sound, b"BMW is a maker of cars", b"\0\0\0\x20ftypisom", b"", b"hello"):
        assert recognised(content) is formats.UNKNOWN


def test_a_large_phone_picture_is_not_replaced_by_its_thumbnail() -> None:
    from tl_core.data.pixels import decode

    sharp = Image.effect_noise((400, 300), 120).convert("RGB")
    buffer, plain = io.BytesIO(), io.BytesIO()
    sharp.save(buffer, "HEIF", quality=90, thumbnails=[280])
    sharp.save(plain, "HEIF", quality=90)
    assert decode(buffer.getvalue(), longest=256).tobytes() == decode(plain.getvalue(), longest=256).tobytes()


def test_two_rows_with_the_same_extension_are_refused_at_import() -> None:
    with pytest.raises(ValueError, match=r"\.jpg"):
        formats._table(*FORMATS, ImageFormat(name="another", extensions=(".jpg",)))


def test_readers_of_the_readme_find_every_format_that_is_read() -> None:
    text = README.read_text()
    assert not [row.name for row in READ if row.name not in text]


def test_messages_name_every_format_that_is_read() -> None:
    assert all(row.name in formats.NOT_READ for row in READ)
    assert "SVG" not in formats.NOT_READ
