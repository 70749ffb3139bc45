"""What is said of a data set: what stops a run, what was set aside, what would help, and what mends it."""

from __future__ import annotations

import shutil
from dataclasses import replace
from operator import attrgetter
from pathlib import Path

import pytest

from tests.conftest import PictureFolder
from tests.data.work import NEARLY_BLACK, black, ingested
from tl_core.data import checks
from tl_core.data.checks import MOST_CLASSES, Check, Finding, findings, problem, require_trainable
from tl_core.documents.manifest import ImageEntry, Manifest
from tl_core.errors import LayoutError, NotEnoughImages
from tl_core.table import Table


def said(manifest: Manifest) -> dict[str, Finding]:
    """The findings by their kind, of which each occurs once."""
    found = findings(manifest)
    assert len({finding.kind for finding in found}) == len(found)
    return {finding.kind: finding for finding in found}


def test_files_that_are_refused_or_passed_over_are_said_with_their_reasons(
    picture_folder: PictureFolder, tmp_path: Path
) -> None:
    source = picture_folder({"cat": 20, "dog": 20})
    (source / "cat" / "broken.jpg").write_bytes((source / "cat" / "000.jpg").read_bytes()[:300])
    (source / "dog" / "drawing.svg").write_text("<svg/>")
    (source / "dog" / "deep").mkdir()
    shutil.move(source / "dog" / "000.jpg", source / "dog" / "deep" / "000.jpg")
    (source / "notes.txt").write_text("x")
    found = said(ingested(source, tmp_path / "d"))
    assert set(found) == {"refused", "passed_over", "folded_folders"}
    assert set(found["refused"].files) == {"cat/broken.jpg", "dog/drawing.svg"}
    assert all(reason.endswith(".") for reason in found["refused"].reasons)
    assert found["refused"].message.startswith("2 files are refused, the first of them dog/drawing.svg: This kind")
    assert not any(finding.stops or finding.rows for finding in found.values())


def test_exact_copies_are_named_with_their_remedy(picture_folder: PictureFolder, tmp_path: Path) -> None:
    source = picture_folder({"cat": 20, "dog": 20})
    for name in ("again.jpg", "more.jpg"):
        shutil.copy(source / "cat" / "001.jpg", source / "cat" / name)
    found = said(ingested(source, tmp_path / "d"))
    assert found.keys() == {"exact_copy"}
    assert found["exact_copy"].files == ("cat/again.jpg", "cat/more.jpg")
    assert found["exact_copy"].remedy is None


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


def test_what_would_help_is_said_with_its_remedy(picture_folder: PictureFolder, tmp_path: Path) -> None:
    source = picture_folder({"cat": 80, "dog": 6})
    shutil.copy(source / "cat" / "000.jpg", source / "dog" / "same.jpg")
    manifest = ingested(source, tmp_path / "d")
    found = said(manifest)
    assert "Few pictures: 'dog' (7). 20 or more" in found["small_class"].message
    assert "lean towards 'cat'" in found["imbalance"].message
    assert "'cat' and 'dog'" in found["two_labels"].message
    assert set(found["two_labels"].files) == {"cat/000.jpg", "dog/same.jpg"}
    assert {manifest.images[row].name for row in found["two_labels"].rows} == set(found["two_labels"].files)
    remedies = {kind: finding.remedy for kind, finding in found.items()}
    assert remedies == {"small_class": "photograph", "imbalance": "photograph", "two_labels": "move"}
    assert findings(ingested(picture_folder({"a": 20, "b": 20}, root=tmp_path / "even"), tmp_path / "d2")) == []


def test_only_what_can_be_learned_from_is_counted(picture_folder: PictureFolder, tmp_path: Path) -> None:
    picture_folder({"cat": 21, "dog": 8}, root=tmp_path / "p" / "train")
    picture_folder({"cat": 2, "dog": 30}, root=tmp_path / "p" / "test")
    found = said(ingested(tmp_path / "p", tmp_path / "d"))
    assert "Few pictures in train: 'dog' (8). 20 or more" in found["small_class"].message


def test_identical_images_across_the_users_splits_are_kept_and_reported(
    picture_folder: PictureFolder, tmp_path: Path
) -> None:
    for split in ("train", "Test"):
        picture_folder({"cat": 20, "dog": 20}, root=tmp_path / "p" / split)
    manifest = ingested(tmp_path / "p", tmp_path / "d")
    assert len(manifest.images) == 80
    assert {entry.split for entry in manifest.images} == {"train", "test"}
    found = said(manifest)
    assert found.keys() == {"copy_across_splits"}
    assert found["copy_across_splits"].message.startswith("40 pictures are in more than one")
    assert len(found["copy_across_splits"].files) == 80


def test_a_folder_a_picture_is_no_classifier() -> None:
    many = MOST_CLASSES + 1
    images = tuple(
        ImageEntry(sha256=f"{number:064x}", label=number // 5, name="x", file="", width=1, height=1)
        for number in range(many * 5)
    )
    classes = tuple(f"{number:05}" for number in range(many))
    manifest = Manifest(name="n", created=0, source="s", classes=classes, images=images)
    assert "1,001 classes" in (problem(manifest) or "")


def test_what_keeps_a_run_from_starting_is_a_finding_and_comes_first(
    picture_folder: PictureFolder, tmp_path: Path
) -> None:
    manifest = ingested(picture_folder({"cat": 3}), tmp_path / "d")
    first, *others = findings(manifest)
    assert (first.kind, first.stops) == ("one_class", True)
    assert first.message == problem(manifest)
    assert [finding.kind for finding in others] == ["small_class"]


def test_two_checks_of_one_kind_are_refused_at_import() -> None:
    with pytest.raises(ValueError, match="'dark'"):
        Table("check", [*checks.CHECKS.values(), NEARLY_BLACK, NEARLY_BLACK], key=attrgetter("kind"))


def test_a_check_of_pixels_that_measures_nothing_is_refused_at_import() -> None:
    with pytest.raises(ValueError, match="'dark' needs pixels"):
        replace(NEARLY_BLACK, measure=None)


@pytest.mark.usefixtures("decoded_here")
def test_a_check_of_pixels_is_one_row(
    picture_folder: PictureFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = picture_folder({"cat": 20, "dog": 20})
    black(source / "cat" / "night.jpg")
    before = ingested(source, tmp_path / "before")
    monkeypatch.setitem(checks.CHECKS, NEARLY_BLACK.kind, NEARLY_BLACK)
    assert "dark" not in said(before), "pictures that were read before the check existed have no measure"
    manifest = ingested(source, tmp_path / "d")
    assert Manifest.read(tmp_path / "d" / "manifest.json") == manifest
    found = said(manifest)
    assert found["dark"].files == ("cat/night.jpg",)
    assert found["dark"].remedy == "photograph"


@pytest.mark.usefixtures("decoded_here")
def test_a_check_of_files_is_one_row_too(
    picture_folder: PictureFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Check(kind="bytes", needs="file", measure=len, find=lambda manifest: iter(()))
    monkeypatch.setitem(checks.CHECKS, row.kind, row)
    source = picture_folder({"cat": 3, "dog": 3})
    for entry in ingested(source, tmp_path / "d").images:
        assert entry.measured["bytes"] == (source / entry.name).stat().st_size
