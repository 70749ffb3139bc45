"""The numbers that are measured of each picture."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageFilter

from tests.conftest import PATIENCE, picture
from tests.data.work import blocks
from tl_core.data.measures import MEASURES, blur, bright_part, entropy, measured, white_share


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
    spot = Image.fromarray(values)
    assert (bright_part(spot), white_share(spot)) == (200, 0)
    values[:50] = 255
    half = Image.fromarray(values)
    assert (bright_part(half), white_share(half), entropy(half)) == (255, 0.5, 1)
    assert entropy(Image.fromarray(np.arange(256, dtype=np.uint8).reshape(16, 16))) == 5


@pytest.mark.parametrize("size", [(4, 4), (4, 256), (256, 4), (9, 5)])
@pytest.mark.parametrize("grey", [0, 255, None])
def test_an_odd_picture_is_measured_all_the_same(size: tuple[int, int], grey: int | None) -> None:
    image = picture(0, 0, size).convert("L") if grey is None else Image.new("L", size, grey)
    numbers = measured("grey", image)
    assert numbers.keys() == MEASURES.keys()
    assert all(np.isfinite(number) and type(number) in (int, float) for number in numbers.values())


def test_a_child_that_decodes_imports_no_documents() -> None:
    code = "import sys, tl_core.data.decoder; print('pydantic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout.strip(), done.stderr) == ("False", "")
