"""Charts that are drawn while another session is the first to import what they need."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import PATIENCE
from ui import charts


def test_pandas_is_whole_before_the_first_chart_is_drawn() -> None:
    code = "import sys, ui.charts; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.split()[-1] == "True"


def test_sizes_are_counted_in_steps_that_double_and_the_title_says_how_many_are_small() -> None:
    figure = charts.picture_sizes([8, 15, 16, 300, 511], seen=224)
    assert list(figure.data[0].x) == ["8 to 15", "16 to 31", "32 to 63", "64 to 127", "128 to 255", "256 to 511"]
    assert list(figure.data[0].y) == [2, 1, 0, 0, 0, 2]
    assert figure.layout.title.text.replace("\u202f", " ") == "60 % have less than 224 pixels"
    assert charts.picture_sizes([300, 511], seen=224).layout.title.text == "Every picture has 224 pixels or more"
