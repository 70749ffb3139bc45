"""Pictures are blurred and sampled as SciPy does it, whose import would take longer than most searches."""

import subprocess
import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from tests.conftest import PATIENCE
from tests.data.work import scene
from tl_core.data.alignment import _PLACINGS, SIDE, View, _blurred, _points, _sampled, greys, middles, refined

PIXELS = np.stack([np.asarray(scene(number).resize((112, 112))) for number in range(3)])


def test_a_reduced_picture_is_the_mean_luminance_of_blocks() -> None:
    luminance = PIXELS @ np.array([0.299, 0.587, 0.114])
    assert greys(PIXELS) == pytest.approx(luminance.reshape(3, SIDE, 2, SIDE, 2).mean((2, 4)), abs=1e-3)
    assert np.all(greys(np.full((1, 1000, 1000, 3), 255, dtype=np.uint8)).round(2) == 255)


@pytest.mark.parametrize("deviation", [1.0, 3.0])
def test_a_picture_is_blurred_as_by_scipy(deviation: float) -> None:
    grey = greys(PIXELS)
    expected = np.stack([gaussian_filter(each, deviation) for each in grey])
    assert _blurred(grey, deviation) == pytest.approx(expected, abs=1e-2)


def test_a_picture_is_sampled_as_by_scipy() -> None:
    grey = greys(PIXELS)[0]
    placings = _PLACINGS[::50]
    expected = map_coordinates(grey, _points(placings, 16, 1.5, SIDE), order=1, mode="nearest")
    assert _sampled(grey, placings, 1.5) == pytest.approx(expected, abs=1e-2)


def test_the_middle_of_a_picture_is_found_in_itself_only() -> None:
    grey = greys(PIXELS)
    found, placing = View(grey[1], PIXELS[1]).coarse(middles(grey))
    assert found.argmax() == 1
    assert found[1] > 0.9
    assert _PLACINGS[placing[1]] == pytest.approx([1, 1, 0, 0, 0, 0])


def test_looking_for_groups_imports_no_scipy() -> None:
    code = "import sys, tl_core.runs.grouping, tl_core.data.groups; print('scipy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE)
    assert (done.stdout.strip(), done.stderr) == ("False", "")


def test_pictures_that_are_placed_together_are_placed_as_each_alone() -> None:
    grey = greys(PIXELS)
    views = [View(grey[row], PIXELS[row], aspect) for row, aspect in enumerate((1.0, 1.3, 0.8))]
    fits = [(whole, part, placing) for whole in views for part in views for placing in (0, 150, len(_PLACINGS) // 2)]
    together = refined(fits)
    assert together == pytest.approx([refined([fit])[0] for fit in fits], abs=1e-5)
    assert max(together) > 0.95
    assert min(together) == -1.0
