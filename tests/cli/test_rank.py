"""`rank` through the command line: what it prints, what it says of names that are none, and that it leaves nothing behind."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import lend
from tl_core.cli import main


@pytest.fixture
def ready(cached: Path, exported: Callable[[int], Path], store: Path) -> Path:
    """`cached`, and the backbone exported for its own size as well, which is that of a ranking."""
    lend(exported(224), store / "cache")
    return cached


@pytest.mark.usefixtures("in_process")
def test_backbones_are_ranked_and_nothing_is_left_behind(
    ready: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["rank", str(ready), "--backbones", "efficientnet_lite0", "--device", "cpu"]
    assert main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["rows"]
    assert (row["backbone"], found["classes"], found["failed"]) == ("efficientnet_lite0", 3, {})
    assert row["interval"][0] <= row["accuracy"] <= row["interval"][1]
    assert found["images"] == 42
    assert not list(store.glob("workspaces/*/*/*"))
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "efficientnet_lite0" in out
    assert "cross-validated on 42 training pictures of 3 classes" in out


def test_what_cannot_be_ranked_is_said_before_anything_is_read(
    cached: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rank", str(cached), "--backbones", " , "]) == 2
    assert "at least one backbone" in capsys.readouterr().err
    assert main(["rank", str(cached), "--backbones", "Not/A/Name,efficientnet_lite0,../x"]) == 2
    err = capsys.readouterr().err
    assert "'Not/A/Name'" in err
    assert "'../x'" in err
    assert err.count("mobilenet_v3_large") == 1
    assert not (store / "workspaces").exists() or not list(store.glob("workspaces/*/*/*"))


def test_one_that_cannot_be_brought_is_noted_wherever_it_is_named(
    ready: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-weights"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    names = "vit_small_patch14_dinov2,efficientnet_lite0"
    assert main(["rank", str(ready), "--backbones", names, "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["backbone"] for row in found["rows"]] == ["efficientnet_lite0"]
    assert "HF_HUB_OFFLINE" in found["failed"]["vit_small_patch14_dinov2"]
