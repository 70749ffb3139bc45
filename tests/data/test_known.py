"""Pictures that another data set of the workspace holds already are taken over from there."""

import os
import shutil
from pathlib import Path

import pytest

from tests.conftest import PictureFolder, picture
from tests.data.work import finish, ingested, no_links, spec
from tl_core.data.ingest import ingest
from tl_core.documents.manifest import Manifest, Suspicion


def again(source: Path, into: Path, *known: Path) -> Manifest:
    return finish(ingest(spec(source), into, staging=into.parent / "staging", known=known))[1]


@pytest.mark.parametrize("links", [True, False])
def test_the_same_folder_is_neither_decoded_nor_where_links_are_copied_again(
    picture_folder: PictureFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decoded: list[int], links: bool
) -> None:
    source = picture_folder({"cat": 4, "dog": 3}, size=(1300, 900))
    first = ingested(source, tmp_path / "one")
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    second = again(source, tmp_path / "two", tmp_path / "one")
    assert len(decoded) == 7
    assert second.images == first.images, "with what was measured"
    for entry in second.images:
        for folder, name in (("images", entry.file), ("thumbnails", f"{entry.file[:6]}.jpg")):
            old, new = (tmp_path / place / folder / name for place in ("one", "two"))
            assert old.samefile(new) == links
            assert old.read_bytes() == new.read_bytes()
    shutil.rmtree(tmp_path / "one")
    assert all((tmp_path / "two" / "images" / entry.file).stat().st_size for entry in second.images)


def test_what_is_new_among_known_pictures_is_decoded(
    picture_folder: PictureFolder, tmp_path: Path, decoded: list[int]
) -> None:
    source = picture_folder({"cat": 3, "dog": 3})
    ingested(source, tmp_path / "one")
    moved = tmp_path / "moved"
    shutil.copytree(source, moved)
    (moved / "cat").rename(moved / "lion")
    (moved / "bird").mkdir()
    for number in range(2):
        picture(2, number).save(moved / "bird" / f"{number}.jpg")
    decoded.clear()
    manifest = again(moved, tmp_path / "two", tmp_path / "one")
    assert len(decoded) == 2
    assert manifest.counts() == {"bird": 2, "dog": 3, "lion": 3}
    assert {image.file for image in manifest.images} == {path.name for path in (tmp_path / "two" / "images").iterdir()}


def test_a_damaged_or_missing_copy_is_made_anew(
    picture_folder: PictureFolder, tmp_path: Path, decoded: list[int]
) -> None:
    source = picture_folder({"cat": 3, "dog": 3})
    first = ingested(source, tmp_path / "one")
    damaged, missing, bare = (tmp_path / "one" / "images" / image.file for image in first.images[:3])
    damaged.write_bytes(damaged.read_bytes()[:-20])
    missing.unlink()
    (tmp_path / "one" / "thumbnails" / f"{bare.stem}.jpg").unlink()
    decoded.clear()
    assert again(source, tmp_path / "two", tmp_path / "one") == first.model_copy(
        update={"created": Manifest.read(tmp_path / "two" / "manifest.json").created}
    )
    assert len(decoded) == 3
    assert len(list((tmp_path / "two" / "thumbnails").iterdir())) == 6


@pytest.mark.parametrize("older", ["its copies", "its numbers"])
def test_unfinished_and_older_data_sets_are_passed_over(
    picture_folder: PictureFolder, tmp_path: Path, decoded: list[int], older: str
) -> None:
    source = picture_folder({"cat": 3, "dog": 3})
    manifest = ingested(source, tmp_path / "older")
    fewer = [image.model_copy(update={"measured": {"dark": 7}}) for image in manifest.images]
    changed = {"copies": 0} if older == "its copies" else {"images": tuple(fewer)}
    manifest.model_copy(update=changed).write(tmp_path / "older" / "manifest.json")
    ingested(source, tmp_path / "unfinished")
    (tmp_path / "unfinished" / "manifest.json").write_text("{")
    decoded.clear()
    again(source, tmp_path / "two", tmp_path / "older", tmp_path / "unfinished", tmp_path / "nowhere")
    assert len(decoded) == 6


def test_a_suspicion_stays_with_the_data_set_in_which_the_label_was_judged(
    picture_folder: PictureFolder, tmp_path: Path
) -> None:
    source = picture_folder({"cat": 3, "dog": 3})
    first = ingested(source, tmp_path / "one")
    wrong = Suspicion(label="cat", suggested="dog", label_probability=0.01, suggested_probability=0.9)
    images = tuple(image.model_copy(update={"suspicion": wrong}) for image in first.images)
    first.model_copy(update={"images": images}).write(tmp_path / "one" / "manifest.json")
    assert again(source, tmp_path / "two", tmp_path / "one").images == first.images
    (tmp_path / "more" / "cat").mkdir(parents=True)
    picture(0, 99).save(tmp_path / "more" / "cat" / "new.jpg")
    onto = Manifest.read(tmp_path / "one" / "manifest.json")
    steps = ingest(spec(tmp_path / "more"), tmp_path / "one", staging=tmp_path / "staging", onto=onto, first="v2-")
    assert [image.suspicion for image in finish(steps)[1].images] == [None] * 7
