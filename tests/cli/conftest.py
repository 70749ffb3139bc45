"""One run, trained by the real command in a process of its own, that all tests of the command line look at."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Once, lend, picture
from tests.runs.executors import HERE
from tl_core.cli import main

ROOT = Path(__file__).parents[2]
SIZE = 96
"""Pixels; with fewer than the default, each answer takes a fifth of the time."""


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
class Terminal:
    """Commands in the process of the test, and what each prints."""

    capsys: pytest.CaptureFixture[str]

    def run(self, words: Sequence[object], code: int) -> tuple[str, str]:
        self.capsys.readouterr()
        assert main(list(map(str, words))) == code
        return self.capsys.readouterr()

    def json(self, *words: object, code: int = 0) -> Any:
        return json.loads(self.run([*words, "--json"], code)[0])

    def out(self, *words: object, code: int = 0) -> str:
        return self.run(words, code)[0]

    def err(self, *words: object, code: int = 2) -> str:
        return self.run(words, code)[1]


@pytest.fixture
def terminal(capsys: pytest.CaptureFixture[str]) -> Terminal:
    return Terminal(capsys)


@dataclass(frozen=True)
class Trained:
    store: Path
    data: Path
    run_dir: Path
    result: dict[str, Any]
    stderr: str


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run in the process of the test: a worker of its own imports torch again, which takes seconds."""
    monkeypatch.setenv("GRAFT_EXECUTOR", HERE)


@pytest.fixture
def cached(trained: Trained, store: Path) -> Path:
    """The pictures of the trained run, whose features and exported backbone are in this test's cache."""
    lend(trained.store / "cache", store / "cache")
    return trained.data


@pytest.fixture(scope="session")
def trained(once: Once, exported: Callable[[int], Path]) -> Trained:
    """Three classes of 20 pictures and one broken file, trained with the default strategy for pictures of `SIZE`, into `--out`."""

    def make(place: Path) -> None:
        for label, name in enumerate(["apple", "<b>Birne", "Kirsche"]):
            (place / "data" / name).mkdir(parents=True)
            for index in range(20):
                picture(label, index).save(place / "data" / name / f"{index:03}.jpg", quality=92)
        (place / "data" / "apple" / "broken.jpg").write_bytes(b"\xff\xd8\xff not a picture")
        lend(exported(SIZE), place / "store" / "cache")
        words = ["--image-size", str(SIZE), "--seed", "3", "--out", place / "run", "--json"]
        done = run(place / "store", "train", place / "data", *words)
        assert done.returncode == 0, done.stderr
        (place / "stdout").write_text(done.stdout)
        (place / "stderr").write_text(done.stderr)

    place = once("trained", make)
    result = json.loads((place / "stdout").read_text())
    return Trained(place / "store", place / "data", place / "run", result, (place / "stderr").read_text())
