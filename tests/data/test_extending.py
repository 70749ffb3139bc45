"""A data set that extends another one has its pictures, taken over as they are, and those that were added."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import PictureFolder, picture
from tests.data.work import finish, ingested, spec
from tl_core.data.checks import findings
from tl_core.data.extending import name_with
from tl_core.data.ingest import ingest
from tl_core.data.split import assign
from tl_core.documents.manifest import Manifest
from tl_core.documents.spec import Extended
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


def extended(data: Path, source: Path, into: Path, **changes: object) -> Manifest:
    asked = spec(source).model_copy(
        update={"name": "Crockery", "extends": Extended(workspace="", dataset="", **changes)}
    )
    return finish(ingest(asked, into, staging=into.parent / "staging", extended=data))[1]


def test_the_old_pictures_come_first_and_are_not_decoded_again(old: Path, tmp_path: Path, decoded: list[int]) -> None:
    drawn(tmp_path / "more" / "cup", 0, range(100, 104))
    drawn(tmp_path / "more" / "bowl", 2, range(3))
    decoded.clear()
    before = Manifest.read(old / "manifest.json")
    manifest = extended(old, tmp_path / "more", tmp_path / "new")
    assert len(decoded) == 7
    assert manifest == Manifest.read(tmp_path / "new" / "manifest.json")
    assert manifest.counts() == {"bowl": 3, "cup": 34, "plate": 20}
    assert [image.sha256 for image in manifest.images[:50]] == [image.sha256 for image in before.images]
    assert [image.name for image in manifest.added] == [f"bowl/new-{i}.jpg" for i in range(3)] + [
        f"cup/new-{i}.jpg" for i in range(100, 104)
    ]
    assert len({image.file for image in manifest.images}) == 57
    for image, was in zip(manifest.images[:50], before.images, strict=True):
        assert manifest.classes[image.label] == before.classes[was.label]
        assert image.measured == was.measured
        assert (tmp_path / "new" / "images" / image.file).samefile(old / "images" / was.file)
    assert Manifest.read(old / "manifest.json") == before
    shutil.rmtree(old)
    assert all((tmp_path / "new" / "thumbnails" / f"{image.file[:6]}.jpg").stat().st_size for image in manifest.images)


@pytest.mark.parametrize("seed", range(4))
def test_the_old_pictures_stay_in_their_part_and_the_new_ones_fill_each_up(
    old: Path, tmp_path: Path, seed: int
) -> None:
    drawn(tmp_path / "more" / "cup", 0, range(100, 130))
    drawn(tmp_path / "more" / "bowl", 2, range(20))
    first = extended(old, tmp_path / "more", tmp_path / "new")
    drawn(tmp_path / "again" / "bowl", 2, range(50, 70))
    second = extended(tmp_path / "new", tmp_path / "again", tmp_path / "newer")
    before = assign(Manifest.read(old / "manifest.json"), seed).tolist()
    middle, after = assign(first, seed).tolist(), assign(second, seed).tolist()
    assert middle[:50] == before
    assert after[: len(middle)] == middle
    for manifest, parts in ((first, middle), (second, after)):
        for label, count in enumerate(manifest.counts().values()):
            held = [part for image, part in zip(manifest.images, parts, strict=True) if image.label == label]
            assert held.count("test") == held.count("val") == round(0.15 * count)


def test_copies_of_old_pictures_are_dropped_and_counted(
    old: Path, tmp_path: Path, picture_folder: PictureFolder
) -> None:
    more = picture_folder({"cup": 3, "plate": 2}, root=tmp_path / "more")
    with pytest.raises(LayoutError, match="nothing new among these 5 pictures"):
        extended(old, more, tmp_path / "none")
    drawn(more / "plate", 1, range(100, 102))
    (more / "plate" / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    manifest = extended(old, more, tmp_path / "new")
    assert manifest.counts() == {"cup": 30, "plate": 22}
    assert manifest.dropped_duplicates == 5
    assert [refusal.file for refusal in manifest.refused] == ["plate/torn.jpg"]
    files = {image.file for image in manifest.images}
    assert {path.name for path in (tmp_path / "new" / "images").iterdir()} == files
    assert len(list((tmp_path / "new" / "thumbnails").iterdir())) == 52


def test_a_single_folder_that_is_called_like_a_class_adds_to_it(old: Path, tmp_path: Path) -> None:
    drawn(tmp_path / "more" / "cup" / "monday", 0, range(100, 102))
    drawn(tmp_path / "more" / "cup" / "tuesday", 0, range(102, 103))
    manifest = extended(old, tmp_path / "more", tmp_path / "new")
    assert manifest.counts() == {"cup": 33, "plate": 20}
    assert manifest.folded_folders == 2


def test_a_class_whose_name_is_no_folder_is_added_to(tmp_path: Path) -> None:
    drawn(tmp_path / "before" / "a\\b", 0, range(5))
    drawn(tmp_path / "before" / "plate", 1, range(5))
    ingested(tmp_path / "before", tmp_path / "old")
    drawn(tmp_path / "more" / "a-b", 0, range(10, 13))
    manifest = extended(tmp_path / "old", tmp_path / "more", tmp_path / "new", class_names={"a-b": "a\\b"})
    assert manifest.counts() == {"a\\b": 8, "plate": 5}


def test_given_splits_stay_and_what_comes_without_one_is_learned_from(
    picture_folder: PictureFolder, tmp_path: Path
) -> None:
    for part, numbers in (("train", range(20)), ("test", range(20, 26))):
        for label, name in enumerate(("cup", "plate")):
            drawn(tmp_path / "before" / part / name, label, numbers)
    ingested(tmp_path / "before", tmp_path / "old")
    drawn(tmp_path / "more" / "cup", 0, range(24, 34))
    manifest = extended(tmp_path / "old", tmp_path / "more", tmp_path / "new")
    assert manifest.dropped_duplicates == 2, "what was held out before is not learned from now"
    parts = assign(manifest, 0).tolist()
    assert parts[:52] == assign(Manifest.read(tmp_path / "old" / "manifest.json"), 0).tolist()
    assert set(parts[52:]) <= {"train", "val"}
    drawn(tmp_path / "tests" / "test" / "cup", 0, range(60, 64))
    manifest = extended(tmp_path / "new", tmp_path / "tests", tmp_path / "newer")
    assert [image.split for image in manifest.added] == ["test"] * 4


def test_a_test_picture_that_the_old_data_set_learns_from_is_found(old: Path, tmp_path: Path) -> None:
    drawn(tmp_path / "more" / "train" / "plate", 1, range(100, 104))
    (tmp_path / "more" / "test" / "cup").mkdir(parents=True)
    shutil.copy(tmp_path / "before" / "cup" / "003.jpg", tmp_path / "more" / "test" / "cup")
    drawn(tmp_path / "more" / "test" / "cup", 0, range(100, 104))
    manifest = extended(old, tmp_path / "more", tmp_path / "new")
    assert [finding.files for finding in findings(manifest) if finding.kind == "copy_across_splits"] == [
        ("cup/003.jpg", "test/cup/003.jpg")
    ]


def test_an_old_picture_whose_copy_is_damaged_is_named_and_can_be_added_again(old: Path, tmp_path: Path) -> None:
    before = Manifest.read(old / "manifest.json")
    (old / "images" / before.images[0].file).write_bytes(b"damaged")
    (old / "thumbnails" / f"{before.images[1].file[:6]}.jpg").unlink()
    drawn(tmp_path / "more" / "cup", 0, range(100, 104))
    shutil.copy(tmp_path / "before" / before.images[0].name, tmp_path / "more" / "cup")
    manifest = extended(old, tmp_path / "more", tmp_path / "new")
    assert [refusal.file for refusal in manifest.refused] == [image.name for image in before.images[:2]]
    assert manifest.counts() == {"cup": 33, "plate": 20}
    assert len(manifest.added) == 5
    assert set(assign(manifest, 0)) == {"train", "val", "test"}


def test_a_data_set_from_before_copies_had_checksums_is_extended(old: Path, tmp_path: Path) -> None:
    before = Manifest.read(old / "manifest.json")
    images = tuple(image.model_copy(update={"crc32": 0, "measured": {}}) for image in before.images)
    before.model_copy(update={"copies": 0, "images": images}).write(old / "manifest.json")
    drawn(tmp_path / "more" / "cup", 0, range(100, 104))
    manifest = extended(old, tmp_path / "more", tmp_path / "new")
    assert (manifest.copies, manifest.refused, manifest.counts()) == (0, (), {"cup": 34, "plate": 20})


@pytest.mark.parametrize(
    ("name", "added", "expected"),
    [
        ("Trash", 12, "Trash, 12 more"),
        ("Trash, 12 more", 5, "Trash, 17 more"),
        ("Trash, 1,999 more", 1, "Trash, 2,000 more"),
        ("Trash, some more", 1, "Trash, some more, 1 more"),
        (", , more", 1, ", , more, 1 more"),
    ],
)
def test_the_name_says_how_many_pictures_came(name: str, added: int, expected: str) -> None:
    assert name_with(name, added) == expected
