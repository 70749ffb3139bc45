"""The app process stays light: after a tour of every page it has not imported torch, and holds under 400 MB."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.app.records import TOKEN
from tests.conftest import PATIENCE, lend
from tests.runs.conftest import kept, kept_run

__all__ = ["kept", "kept_run"]

ROOT = Path(__file__).parents[2]


def test_a_tour_with_a_prediction_imports_no_torch(kept_run: Path, store: Path) -> None:
    lend(kept_run / "store", store)
    touring = [sys.executable, "-m", "tests.app.touring", TOKEN]
    done = subprocess.run(touring, cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr[-4000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["errors"] == []
    assert found["answered"] == 3
    assert found["torch"] == []
    assert found["megabytes"] < 400
