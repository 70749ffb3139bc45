"""Charts that are drawn while another session is the first to import what they need."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import PATIENCE


def test_pandas_is_whole_before_the_first_chart_is_drawn() -> None:
    code = "import sys, ui.charts; print('pandas' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.split()[-1] == "True"
