"""The app process stays light: after a tour of every page it has not imported torch, and holds under 400 MB."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.app.records import TOKEN
from tests.cli.conftest import Trained, trained
from tests.conftest import PATIENCE, lend

__all__ = ["trained"]

ROOT = Path(__file__).parents[2]


def _python(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *arguments], cwd=ROOT, env=os.environ, capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout


def test_a_tour_with_a_prediction_imports_no_torch(trained: Trained, store: Path) -> None:
    lend(trained.store / "cache", store / "cache")
    _python("tl_core", "train", str(trained.data), "--workspace", TOKEN, "--seed", "3", "--json")
    found = json.loads(_python("tests.app.touring", TOKEN).splitlines()[-1])
    assert found["errors"] == []
    assert found["answered"] == 3
    assert found["torch"] == []
    assert found["megabytes"] < 400
