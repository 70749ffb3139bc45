from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

from tests.conftest import PictureFolder
from tests.data.work import finish, ingested
from tl_core.data.checks import MOST_CLASSES, advice, check, problem, require_trainable
from tl_core.documents.events import Progress
from tl_core.documents.manifest import ImageEntry, Manifest
from tl_core.errors import LayoutError, NotEnoughImages


class Source(NamedTuple):
    kind: Literal["folder", "zip", "sample"]
    where: str


def test_check_says_what_ingest_does_and_keeps_nothing(picture_folder: PictureFolder, tmp_path: Path) -> None:
    source = picture_folder({"cat": 20, "dog": 10})
    (source / "cat" / "broken.jpg").write_bytes((source / "cat" / "000.jpg").read_bytes()[:300])
    (source / "notes.txt").write_text("x")
    before = {path: path.stat().st_mtime for path in tmp_path.rglob("*")}
    events, result = finish(check(Source("folder", str(source))))
    assert any(isinstance(event, Progress) for event in events)
    assert result.classes == {"cat": {"train": 14, "val": 3, "test": 3}, "dog": {"train": 6, "val": 2, "test": 2}}
    assert result.images == 30
    assert [(refusal.file, refusal.kind) for refusal in result.refused] == [("cat/broken.jpg", "truncated")]
    assert result.passed_over == 1
    assert result.problem is None
    assert {path: path.stat().st_mtime for path in tmp_path.rglob("*")} == before


def test_check_reads_a_zip_and_takes_the_innermost_folder(picture_folder: PictureFolder, tmp_path: Path) -> None:
    picture_folder({"siamese": 6, "persian": 6}, root=tmp_path / "p" / "cat")
    picture_folder({"poodle": 6}, root=tmp_path / "p" / "dog")
    packed = shutil.make_archive(str(tmp_path / "p"), "zip", tmp_path / "p")
    assert set(finish(check(Source("zip", packed)))[1].classes) == {"cat", "dog"}
    folded, innermost = (finish(check(Source("zip", packed), way))[1] for way in ("first", "innermost"))
    assert (folded.folded_folders, innermost.folded_folders) == (3, 0)
    assert set(innermost.classes) == {"siamese", "persian", "poodle"}


def test_one_class_only_cannot_be_trained_on(picture_folder: PictureFolder, tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="one class only, 'cat'"):
        require_trainable(ingested(picture_folder({"cat": 9}), tmp_path / "d"))


def test_every_class_that_is_too_small_is_named(picture_folder: PictureFolder, tmp_path: Path) -> None:
    source = picture_folder({"cat": 9, "dog": 4, "hen": 3})
    for number in range(4):
        shutil.copy(source / "dog" / "000.jpg", source / "dog" / f"copy{number}.jpg")
    (source / "fox").mkdir()
    (source / "fox" / "1.jpg").write_bytes(b"broken")
    manifest = ingested(source, tmp_path / "d")
    with pytest.raises(NotEnoughImages, match=r"'dog' has 4, 'fox' has 0, 'hen' has 3"):
        require_trainable(manifest)
    assert "'cat'" not in (problem(manifest) or "")


def test_five_different_images_are_enough(picture_folder: PictureFolder, tmp_path: Path) -> None:
    assert problem(ingested(picture_folder({"cat": 5, "dog": 5}), tmp_path / "d")) is None


def test_in_the_users_own_split_train_must_have_five(picture_folder: PictureFolder, tmp_path: Path) -> None:
    picture_folder({"cat": 9, "dog": 4}, root=tmp_path / "p" / "train")
    picture_folder({"cat": 9, "dog": 9}, root=tmp_path / "p" / "test")
    with pytest.raises(NotEnoughImages, match=r"in train at least: 'dog' has 4"):
        require_trainable(ingested(tmp_path / "p", tmp_path / "d"))


def test_a_class_that_train_lacks_stops_the_run(picture_folder: PictureFolder, tmp_path: Path) -> None:
    picture_folder({"cat": 9, "dog": 9}, root=tmp_path / "p" / "train")
    picture_folder({"cat": 9, "dog": 9, "hen": 9, "fox": 1}, root=tmp_path / "p" / "val")
    with pytest.raises(LayoutError, match=r"'fox', 'hen' are in val or test but not in train"):
        require_trainable(ingested(tmp_path / "p", tmp_path / "d"))


def test_val_and_test_without_train_stop_the_run(picture_folder: PictureFolder, tmp_path: Path) -> None:
    for split in ("val", "test"):
        picture_folder({"cat": 9, "dog": 9}, root=tmp_path / "p" / split)
    with pytest.raises(LayoutError, match="no train folder"):
        require_trainable(ingested(tmp_path / "p", tmp_path / "d"))


def test_advice_says_what_would_help(picture_folder: PictureFolder, tmp_path: Path) -> None:
    source = picture_folder({"cat": 80, "dog": 6})
    shutil.copy(source / "cat" / "000.jpg", source / "dog" / "same.jpg")
    said = " ".join(advice(ingested(source, tmp_path / "d")))
    assert "Few pictures: 'dog' (7). 20 or more" in said
    assert "lean towards 'cat'" in said
    assert "'cat' and 'dog'" in said
    assert advice(ingested(picture_folder({"a": 20, "b": 20}, root=tmp_path / "even"), tmp_path / "d2")) == []


def test_advice_counts_what_can_be_learned_from(picture_folder: PictureFolder, tmp_path: Path) -> None:
    picture_folder({"cat": 21, "dog": 8}, root=tmp_path / "p" / "train")
    picture_folder({"cat": 2, "dog": 30}, root=tmp_path / "p" / "test")
    said = " ".join(advice(ingested(tmp_path / "p", tmp_path / "d")))
    assert "Few pictures in train: 'dog' (8). 20 or more" in said


def test_a_check_of_nothing_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(LayoutError, match="no pictures"):
        finish(check(Source("folder", str(tmp_path))))


def test_a_folder_a_picture_is_no_classifier() -> None:
    many = MOST_CLASSES + 1
    images = tuple(
        ImageEntry(sha256=f"{number:064x}", label=number // 5, name="x", file="", width=1, height=1)
        for number in range(many * 5)
    )
    classes = tuple(f"{number:05}" for number in range(many))
    said = problem(Manifest(name="n", created=0, source="s", classes=classes, images=images))
    assert said is not None
    assert "1,001 classes" in said
