"""The numbers that are measured of each picture."""

import subprocess
import sys
from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageFilter
from PIL.ExifTags import Base

from tests.conftest import PATIENCE, picture
from tests.data.work import blocks
from tl_core.data.measures import MEASURES, blur, bright_part, brightness, entropy, measured, shrunk_grey, white_share


def test_the_more_a_picture_is_blurred_the_higher_its_number_whatever_its_contrast() -> None:
    sharp = blocks(0).convert("L")
    numbers = [blur(sharp.filter(ImageFilter.GaussianBlur(radius))) for radius in (0, 1, 2, 4)]
    assert numbers == sorted(numbers)
    assert numbers[0] < 0.2
    assert 0.7 < numbers[-1] < 0.9
    pale = sharp.filter(ImageFilter.GaussianBlur(2)).point(lambda value: 100 + value // 2)
    assert blur(pale) == pytest.approx(numbers[2], abs=0.05)


def test_a_picture_that_is_blurred_in_one_direction_is_blurred() -> None:
    moved = blocks(0).convert("L").filter(ImageFilter.BoxBlur((6, 0)))
    assert blur(moved) > 0.5
    assert blur(moved) == pytest.approx(blur(moved.transpose(Image.Transpose.TRANSPOSE)))


def test_brightness_and_entropy_are_those_of_known_pictures() -> None:
    values = np.zeros((100, 100), dtype=np.uint8)
    values[:2] = 200
    spot = np.bincount(values.ravel(), minlength=256)
    assert (bright_part(spot), white_share(spot)) == (200, 0)
    values[:50] = 255
    half = np.bincount(values.ravel(), minlength=256)
    assert (bright_part(half), white_share(half), entropy(half)) == (255, 0.5, 1)
    assert (entropy(np.ones(256, dtype=int)), brightness(np.ones(256, dtype=int))) == (5, 127.5)


@pytest.mark.parametrize("size", [(4, 4), (4, 256), (256, 4), (9, 5)])
@pytest.mark.parametrize("grey", [0, 255, None])
def test_an_odd_picture_is_measured_all_the_same(size: tuple[int, int], grey: int | None) -> None:
    image = picture(0, 0, size) if grey is None else Image.new("L", size, grey).convert("RGB")
    numbers = measured(png(image), image)
    assert numbers.keys() == MEASURES.keys()
    assert all(np.isfinite(number) and type(number) in (int, float) for number in numbers.values())


def png(image: Image.Image) -> bytes:
    content = BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def test_a_border_is_the_edges_and_not_the_middle() -> None:
    framed = Image.new("RGB", (200, 100), (10, 20, 30))
    framed.paste((255, 255, 255), (5, 5, 195, 95))
    numbers = measured(png(framed), framed)
    assert [numbers[f"border_{colour}"] for colour in ("red", "green", "blue")] == [10, 20, 30]


def test_a_large_picture_is_measured_by_some_of_its_pixels() -> None:
    image = blocks(0).resize((1000, 500), Image.Resampling.NEAREST)
    grey = shrunk_grey(image)
    assert grey.size == (256, 128)
    assert set(grey.tobytes()) <= set(image.convert("L").tobytes())


def test_a_file_is_measured_by_what_it_declares() -> None:
    seen = Image.new("RGB", (3, 2))

    def file(kind: str, software: str = "", size: tuple[int, int] = (30, 20)) -> bytes:
        exif = Image.Exif()
        exif[Base.Software] = software
        content = BytesIO()
        Image.new("RGB", size).save(content, kind, exif=exif)
        return content.getvalue()

    plain, edited, png = (measured(file(*kind), seen) for kind in (("JPEG",), ("JPEG", "Darkroom 3"), ("PNG",)))
    assert (plain["file_width"], plain["file_height"], plain["file_bytes"]) == (30, 20, len(file("JPEG")))
    assert plain["file_format"] == edited["file_format"] != png["file_format"]
    assert plain["camera"] == png["camera"] != edited["camera"]
    assert measured(file("JPEG", size=(3_000, 20)), seen)["file_width"] == 3_000


def test_a_child_that_decodes_imports_no_documents() -> None:
    code = "import sys, tl_core.data.decoder; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout.strip(), done.stderr) == ("False", "")
