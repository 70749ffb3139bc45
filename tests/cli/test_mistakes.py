"""Whatever is wrong with a command is said at once, before any picture is read."""

from pathlib import Path

import pytest

from tests.cli.conftest import Terminal
from tests.conftest import PictureFolder
from tl_core.models.graphs.export import backbone_key
from tl_core.models.registry import network


def test_a_wrong_option_is_found_before_any_picture_is_read(
    store: Path, picture_folder: PictureFolder, terminal: Terminal
) -> None:
    wrong = {
        "--weights": "w", "--strategy": "y", "--solver": "z", "--epochs": "0", "--stages": "99", "--device": "tpu",
        "--classes": "second", "--learning-rate": "0", "--optimizer": "luck", "--augmentation": "wild", "--clip": "-1",
    }  # fmt: skip
    said = terminal.err("train", str(picture_folder()), *(word for pair in wrong.items() for word in pair))
    for part in ("'w'", "'y'", "'z'", "epochs", "99", "'tpu'", "'second'", "rate is 0", "'luck'", "'wild'", "clipping"):
        assert part in said
    assert not list(store.rglob("datasets"))


def test_a_missing_folder_is_said_with_whatever_else_is_wrong(store: Path, tmp_path: Path, terminal: Terminal) -> None:
    (tmp_path / "notes.txt").write_text("taken")
    wrong = ["--strategy", "y", "--epochs", "0", "--out", str(tmp_path)]
    for name, words in (("train", wrong), ("find-rate", wrong[:2]), ("rank", ["--device", "tpu"])):
        said = terminal.err(name, "/no/such/folder", *words)
        assert "/no/such/folder" in said
        assert {"train": "'y'", "find-rate": "'y'", "rank": "'tpu'"}[name] in said
        if name == "train":
            assert "epochs" in said
            assert "holds something" in said


def test_weights_that_cannot_be_brought_are_said_before_any_picture_is_read(
    store: Path,
    tmp_path: Path,
    picture_folder: PictureFolder,
    monkeypatch: pytest.MonkeyPatch,
    terminal: Terminal,
) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no-weights"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    arguments = ["train", str(picture_folder()), "--backbone", "vit_small_patch14_dinov2", "--epochs", "0"]
    said = terminal.err(*arguments)
    assert "HF_HUB_OFFLINE" in said
    assert "epochs" in said
    assert not list(store.rglob("datasets"))
    assert "HF_HUB_OFFLINE" not in terminal.err(*arguments, "--strategy", "from_scratch")
    # The head alone on a backbone that was exported before needs no weights.
    row = network("vit_small_patch14_dinov2")
    (store / "cache" / "backbones" / backbone_key(row, None, 224)).mkdir(parents=True)
    assert "HF_HUB_OFFLINE" not in terminal.err(*arguments)
    assert "HF_HUB_OFFLINE" in terminal.err(*arguments, "--strategy", "lora")
