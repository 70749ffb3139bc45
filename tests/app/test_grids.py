"""Strips and pictures: what is broken leaves a gap, and Streamlit gets what it need not encode again."""

import io
from pathlib import Path
from unittest.mock import Mock

import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from tests.conftest import picture
from tl_core.data.pixels import make_input
from ui import grids


def _opened(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def test_a_picture_that_is_still_being_written_leaves_a_gap(tmp_path: Path) -> None:
    whole, half = tmp_path / "whole.jpg", tmp_path / "half.jpg"
    picture(0, 1).save(whole)
    half.write_bytes(whole.read_bytes()[:300])
    sheet = _opened(grids._sheet(((str(half), 1.0), (str(whole), 1.0)), 2))
    assert sheet.size == (2 * grids._TILE + grids._GAP, grids._TILE)
    alpha = sheet.getchannel("A")
    assert alpha.getpixel((10, 10)) == 0
    assert alpha.getpixel((sheet.width - 10, 10)) == 255


def test_only_tiny_pictures_are_enlarged_and_with_sharp_edges(tmp_path: Path) -> None:
    tiny, photo = tmp_path / "tiny.jpg", tmp_path / "photo.jpg"
    Image.new("L", (8, 8), 200).save(tiny)
    picture(0, 1, (240, 180)).save(photo)
    large = grids._enlarged(str(tiny), 1.0)
    assert large is not None
    assert _opened(large).size == (160, 160)
    assert grids._enlarged(str(photo), 1.0) is None


def test_a_page_drawn_again_encodes_no_picture_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, photo = tmp_path / "tiny.jpg", tmp_path / "photo.jpg"
    Image.new("L", (8, 8), 200).save(tiny)
    picture(0, 1, (240, 180)).save(photo)

    app = AppTest.from_string(
        f"""
from pathlib import Path
from ui import grids
photo, tiny = Path({str(photo)!r}), Path({str(tiny)!r})
grids.strip([photo, tiny], alt="two", places=4)
grids.picture(photo, alt="a photo")
grids.picture(tiny, alt="a digit")
"""
    ).run()
    encode = Mock()
    monkeypatch.setattr(Image.Image, "save", encode)
    app.run()
    assert len(app.get("image")) == 3
    encode.assert_not_called()


def test_a_picture_that_is_asked_about_keeps_sharp_edges_up_to_a_larger_size_than_a_thumbnail() -> None:
    stripes = Image.new("RGB", (60, 60))
    stripes.paste("white", (30, 0, 60, 60))
    content = io.BytesIO()
    stripes.save(content, "PNG")
    shown = _opened(make_input(content.getvalue(), 224, "bicubic", shown=320).shown)
    assert shown.width >= 160
    edge = shown.width // 2
    assert [shown.convert("L").getpixel((x, 80)) for x in (edge - 9, edge + 8)] == [0, 255]
