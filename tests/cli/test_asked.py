"""The commands that ask a task, `rank` and `slices`: what they print, and that they leave nothing behind."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Terminal, Trained
from tests.conftest import lend
from tl_core.documents.arrays import OutOfFoldAnswers
from tl_core.runs.store.folders import RunFolder


@pytest.fixture
def ready(cached: Path, exported: Callable[[int], Path], store: Path) -> Path:
    """`cached`, and the backbone exported for its own size as well, which is that of a ranking."""
    lend(exported(224), store / "cache")
    return cached


@pytest.mark.usefixtures("in_process")
def test_backbones_are_ranked_and_nothing_is_left_behind(ready: Path, store: Path, terminal: Terminal) -> None:
    words = ["rank", str(ready), "--backbones", "efficientnet_lite0", "--device", "cpu"]
    found = terminal.json(*words)
    (row,) = found["rows"]
    assert (row["backbone"], found["classes"], found["failed"]) == ("efficientnet_lite0", 3, {})
    assert row["interval"][0] <= row["accuracy"] <= row["interval"][1]
    assert found["images"] == 42
    assert not list(store.glob("workspaces/*/*/*"))
    out = terminal.out(*words)
    assert "efficientnet_lite0" in out
    assert "cross-validated on 42 training pictures of 3 classes" in out


def test_what_cannot_be_ranked_is_said_before_anything_is_read(cached: Path, store: Path, terminal: Terminal) -> None:
    assert "Name at least one of the backbones" in terminal.err("rank", str(cached), "--backbones", " , ")
    err = terminal.err("rank", str(cached), "--backbones", "Not/A/Name,efficientnet_lite0,../x")
    assert "'Not/A/Name'" in err
    assert "'../x'" in err
    assert err.count("mobilenet_v3_large") == 1
    assert not (store / "workspaces").exists() or not list(store.glob("workspaces/*/*/*"))


def test_one_that_cannot_be_brought_is_noted_wherever_it_is_named(
    ready: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, terminal: Terminal
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-weights"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    names = "vit_small_patch14_dinov2,efficientnet_lite0"
    found = terminal.json("rank", str(ready), "--backbones", names, "--device", "cpu")
    assert [row["backbone"] for row in found["rows"]] == ["efficientnet_lite0"]
    assert "HF_HUB_OFFLINE" in found["failed"]["vit_small_patch14_dinov2"]


def test_slices_says_which_pictures_fail_and_how_many_slices_were_looked_at(
    trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, terminal: Terminal
) -> None:
    monkeypatch.setenv("GRAFT_STORE", str(trained.store))
    run = RunFolder(shutil.copytree(trained.run_dir, tmp_path / "run"))
    answers = run.out_of_fold()
    labels = np.repeat([0, 1, 2], 20)
    right = np.eye(3, dtype=np.float32)[labels]
    OutOfFoldAnswers(answers.rows, answers.probabilities, answers.c, right).write(run.out_of_fold_file)
    said = terminal.out("slices", str(run.path))
    assert said.startswith("No kind of picture fails more often than chance explains; ")
    assert "Judged by the cross-validated answers to all 60 pictures, 100 % right." in said

    wrong = np.arange(60) % 20 < 6
    labels[wrong] = (labels[wrong] + 1) % 3
    OutOfFoldAnswers(answers.rows, answers.probabilities, answers.c, np.eye(3, dtype=np.float32)[labels]).write(
        run.out_of_fold_file
    )
    found = terminal.json("slices", str(run.path))
    assert set(found) == {"judged_by", "images", "accuracy", "slices"}
    assert (found["judged_by"], found["images"], found["accuracy"]) == ("cross_validated", 60, 0.7)
    assert set(found["slices"][0]) == {
        "kind", "name", "detail", "images", "errors", "accuracy", "interval", "elsewhere", "p_value", "finding", "rows",
    }  # fmt: skip
    assert [one["p_value"] for one in found["slices"]] == sorted(one["p_value"] for one in found["slices"])
    assert all(
        bool(one["rows"]) == (one["p_value"] <= 0.05 and one["accuracy"] < one["elsewhere"]) for one in found["slices"]
    )


@pytest.mark.parametrize("words", [["slices"], ["resume"], ["train-on", "--epochs", "1"]])
def test_a_folder_that_is_no_run_is_named(words: list[str], tmp_path: Path, terminal: Terminal) -> None:
    assert f"There is no run at {tmp_path}." in terminal.err(*words, tmp_path)
