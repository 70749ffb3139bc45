"""A version of a data set to which pictures were added has those from before, as they were, and then the new ones."""

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import PictureFolder, picture
from tests.data.work import finish, ingested, no_links, spec
from tl_core.data.checks import findings
from tl_core.data.ingest import ingest
from tl_core.data.remedying import applied, grown
from tl_core.data.sources import component
from tl_core.data.split import assign
from tl_core.documents.manifest import Manifest, Remedies
from tl_core.errors import LayoutError


@pytest.fixture
def old(picture_folder: PictureFolder, tmp_path: Path) -> Path:
    """A data set folder of 30 cups and 20 plates."""
    ingested(picture_folder({"cup": 30, "plate": 20}, root=tmp_path / "before"), tmp_path / "old")
    return tmp_path / "old"


def drawn(folder: Path, label: int, numbers: range) -> Path:
    """`folder` with pictures of class `label` in it."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        picture(label, number).save(folder / f"new-{number}.jpg", quality=92)
    return folder


def added(data: Path, source: Path, onto: Manifest | None = None) -> Manifest:
    """The version of the data set folder `data` that has the pictures of `source` after those of the version `onto`, by default the first."""
    onto = onto or Manifest.read(data / "manifest.json")
    asked = spec(source).model_copy(update={"onto": 1})
    steps = ingest(asked, data, staging=data.parent / "staging", known=[data], onto=onto, first=f"v{len(onto.images)}-")
    return grown(onto, finish(steps)[1])


def test_the_old_pictures_come_first_and_nothing_of_them_is_touched(
    old: Path, tmp_path: Path, decoded: list[int]
) -> None:
    drawn(tmp_path / "more" / "cup", 0, range(100, 104))
    drawn(tmp_path / "more" / "bowl", 2, range(3))
    files = {path: path.stat() for path in old.rglob("*.*")}
    decoded.clear()
    before = Manifest.read(old / "manifest.json")
    manifest = added(old, tmp_path / "more")
    assert len(decoded) == 7
    assert manifest.counts() == {"bowl": 3, "cup": 34, "plate": 20}
    assert [image.name for image in manifest.added] == [f"bowl/new-{i}.jpg" for i in range(3)] + [
        f"cup/new-{i}.jpg" for i in range(100, 104)
    ]
    for image, was in zip(manifest.images[:50], before.images, strict=True):
        assert manifest.classes[image.label] == before.classes[was.label]
        assert image.model_copy(update={"label": was.label}) == was
    assert {path: path.stat() for path in files} == files
    names = {image.file for image in manifest.images}
    assert len(names) == 57
    assert names == {path.name for path in (old / "images").iterdir()}


@pytest.mark.parametrize("seed", range(4))
def test_the_old_pictures_stay_in_their_part_and_the_new_ones_fill_each_up(
    old: Path, tmp_path: Path, seed: int
) -> None:
    drawn(tmp_path / "more" / "cup", 0, range(100, 130))
    drawn(tmp_path / "more" / "bowl", 2, range(20))
    first = added(old, tmp_path / "more")
    drawn(tmp_path / "again" / "bowl", 2, range(50, 70))
    second = added(old, tmp_path / "again", first)
    before = assign(Manifest.read(old / "manifest.json"), seed).tolist()
    middle, after = assign(first, seed).tolist(), assign(second, seed).tolist()
    assert middle[:50] == before
    assert after[: len(middle)] == middle
    for manifest, parts in ((first, middle), (second, after)):
        for label, count in enumerate(manifest.counts().values()):
            held = [part for image, part in zip(manifest.images, parts, strict=True) if image.label == label]
            assert held.count("test") == held.count("val") == round(0.15 * count)


def test_copies_of_old_pictures_are_dropped_and_counted(
    old: Path, tmp_path: Path, picture_folder: PictureFolder, decoded: list[int]
) -> None:
    more = picture_folder({"cup": 3, "plate": 2}, root=tmp_path / "more")
    decoded.clear()
    with pytest.raises(LayoutError, match="nothing new among these 5 pictures"):
        added(old, more)
    assert not decoded
    drawn(more / "plate", 1, range(100, 102))
    (more / "plate" / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    manifest = added(old, more)
    assert manifest.counts() == {"cup": 30, "plate": 22}
    assert manifest.dropped_duplicates == 5
    assert [refusal.file for refusal in manifest.refused] == ["plate/torn.jpg"]
    files = {image.file for image in manifest.images}
    assert {path.name for path in (old / "images").iterdir()} == files
    assert len(list((old / "thumbnails").iterdir())) == 52


@pytest.mark.parametrize("links", [True, False])
def test_a_damaged_or_missing_copy_of_an_old_picture_is_whole_again_once_the_picture_is_added_again(
    old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    files = {path: path.read_bytes() for folder in ("images", "thumbnails") for path in (old / folder).iterdir()}
    first = Manifest.read(old / "manifest.json")
    damaged, missing = (old / "images" / image.file for image in first.images[:2])
    damaged.write_bytes(damaged.read_bytes()[:-20])
    missing.unlink()
    (old / "thumbnails" / f"{Path(first.images[2].file).stem}.jpg").unlink()
    drawn(tmp_path / "before" / "cup", 0, range(100, 101))
    manifest = added(old, tmp_path / "before")
    assert manifest.dropped_duplicates == 50
    assert {path: path.read_bytes() for path in files} == files
    assert len(list((old / "images").iterdir())) == len(list((old / "thumbnails").iterdir())) == 51


def test_what_was_left_out_or_moved_does_not_come_back_with_the_folder_that_it_came_from(
    old: Path, tmp_path: Path
) -> None:
    first = Manifest.read(old / "manifest.json")
    left_out, moved, kept = (image.file for image in first.images[:3])
    changed = applied(first, Remedies(leave_out=(left_out,), move={moved: "plate"}, keep=(kept,)))
    drawn(tmp_path / "before" / "cup", 0, range(100, 102))
    manifest = added(old, tmp_path / "before", changed)
    assert manifest.counts() == {"cup": 30, "plate": 21}
    assert [image.file for image in manifest.images if image.reviewed] == [moved, kept]
    assert [image.file for image in manifest.images[:49]] == [image.file for image in changed.images]
    assert assign(manifest, 4)[:49].tolist() == assign(changed, 4).tolist()


def test_a_single_folder_that_is_called_like_a_class_adds_to_it(old: Path, tmp_path: Path) -> None:
    drawn(tmp_path / "more" / "cup" / "monday", 0, range(100, 102))
    drawn(tmp_path / "more" / "cup" / "tuesday", 0, range(102, 103))
    manifest = added(old, tmp_path / "more")
    assert manifest.counts() == {"cup": 33, "plate": 20}
    assert manifest.folded_folders == 2


def test_a_class_whose_name_is_no_folder_is_added_to(tmp_path: Path) -> None:
    drawn(tmp_path / "before" / "a\\b", 0, range(5))
    drawn(tmp_path / "before" / "plate", 1, range(5))
    ingested(tmp_path / "before", tmp_path / "old")
    drawn(tmp_path / "more" / (component("a\\b") or ""), 0, range(10, 13))
    manifest = added(tmp_path / "old", tmp_path / "more")
    assert manifest.counts() == {"a\\b": 8, "plate": 5}


def test_given_splits_stay_and_what_comes_without_one_is_learned_from(
    picture_folder: PictureFolder, tmp_path: Path
) -> None:
    for part, numbers in (("train", range(20)), ("test", range(20, 26))):
        for label, name in enumerate(("cup", "plate")):
            drawn(tmp_path / "before" / part / name, label, numbers)
    ingested(tmp_path / "before", tmp_path / "old")
    drawn(tmp_path / "more" / "cup", 0, range(24, 34))
    manifest = added(tmp_path / "old", tmp_path / "more")
    assert manifest.dropped_duplicates == 2, "what was held out before is not learned from now"
    parts = assign(manifest, 0).tolist()
    assert parts[:52] == assign(Manifest.read(tmp_path / "old" / "manifest.json"), 0).tolist()
    assert set(parts[52:]) <= {"train", "val"}
    drawn(tmp_path / "tests" / "test" / "cup", 0, range(60, 64))
    manifest = added(tmp_path / "old", tmp_path / "tests", manifest)
    assert [image.split for image in manifest.added] == ["test"] * 4


def test_a_test_picture_that_the_old_data_set_learns_from_is_found(old: Path, tmp_path: Path) -> None:
    drawn(tmp_path / "more" / "train" / "plate", 1, range(100, 104))
    (tmp_path / "more" / "test" / "cup").mkdir(parents=True)
    shutil.copy(tmp_path / "before" / "cup" / "003.jpg", tmp_path / "more" / "test" / "cup")
    drawn(tmp_path / "more" / "test" / "cup", 0, range(100, 104))
    manifest = added(old, tmp_path / "more")
    assert [finding.files for finding in findings(manifest) if finding.kind == "copy_across_splits"] == [
        ("cup/003.jpg", "test/cup/003.jpg")
    ]
