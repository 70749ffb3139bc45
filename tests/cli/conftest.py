"""One run, trained by the real command in a process of its own, that all tests of the command line look at."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import picture

ROOT = Path(__file__).parents[2]


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "tl_core", *map(str, arguments)]


def environment(store: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    return {**os.environ, "GRAFT_STORE": str(store), **(more or {})}


def run(store: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`python -m tl_core ...` on that store."""
    return subprocess.run(
        command(*arguments), cwd=ROOT, env=environment(store), capture_output=True, text=True, check=False
    )


@dataclass(frozen=True)
class Trained:
    store: Path
    data: Path
    run_dir: Path
    result: dict[str, Any]
    stderr: str


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Three classes of 20 pictures and one broken file, trained with the defaults and `--out`."""
    place = tmp_path_factory.mktemp("trained")
    data = place / "data"
    for label, name in enumerate(["apple", "<b>Birne", "Kirsche"]):
        (data / name).mkdir(parents=True)
        for index in range(20):
            picture(label, index).save(data / name / f"{index:03}.jpg", quality=92)
    (data / "apple" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
    done = run(place / "store", "train", data, "--seed", "3", "--out", place / "run", "--json")
    assert done.returncode == 0, done.stderr
    return Trained(place / "store", data, place / "run", json.loads(done.stdout), done.stderr)
