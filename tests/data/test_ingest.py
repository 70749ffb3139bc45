import functools
import io
import json
import shutil
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.conftest import PictureFolder, picture
from tests.data.test_pixels import encoded
from tests.data.work import finish, ingested, spec
from tests.soak.mutator import zipped
from tl_core.data import guarded
from tl_core.data.checks import findings
from tl_core.data.ingest import ingest
from tl_core.data.pixels import decode, read_input
from tl_core.documents.events import Progress
from tl_core.documents.manifest import Manifest
from tl_core.errors import DataError, DiskFull, LayoutError, NotFound, UnsafeArchive


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_folder_becomes_copies_thumbnails_and_a_manifest(picture_folder: PictureFolder, tmp_path: Path) -> None:
    source = picture_folder({"cat": 2, "dog": 3}, size=(1200, 800))
    events, manifest = finish(ingest(spec(source), tmp_path / "d", staging=tmp_path / "s"))
    assert manifest == Manifest.read(tmp_path / "d" / "manifest.json")
    assert manifest.counts() == {"cat": 2, "dog": 3}
    assert manifest.source == "pictures"
    for entry in manifest.images:
        copy = Image.open(tmp_path / "d" / "images" / entry.file)
        assert copy.size == (entry.width, entry.height) == (1024, 683)
        thumbnail = Image.open((tmp_path / "d" / "thumbnails" / entry.file).with_suffix(".jpg"))
        assert max(thumbnail.size) == 256
    assert {entry.name for entry in manifest.images} == {f"cat/{i:03}.jpg" for i in range(2)} | {
        f"dog/{i:03}.jpg" for i in range(3)
    }
    progress = [event for event in events if isinstance(event, Progress)]
    assert (progress[-1].done, progress[-1].total) == (5, 5)


def test_no_decoder_is_started_that_nobody_asks_again(
    picture_folder: PictureFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads that ask for the pool of the process at the same time would each make one."""
    pools: list[guarded.Pool] = []

    def slow(most: int) -> guarded.Pool:
        pools.append(guarded.Pool(most))
        time.sleep(0.2)
        return pools[-1]

    monkeypatch.setattr(guarded, "shared", functools.cache(lambda: slow(2)))
    monkeypatch.setattr("tl_core.data.pace.cores", lambda: 2)
    ingested(picture_folder({"cat": 2, "dog": 2}), tmp_path / "d")
    assert len(pools) == 1
    pools[0].close()


def test_a_zip_gives_the_same_data_set_as_its_folder(picture_folder: PictureFolder, tmp_path: Path) -> None:
    source = picture_folder({"cat": 5, "dog": 5})
    packed = Path(shutil.make_archive(str(tmp_path / "photos"), "zip", source.parent, source.name))
    from_folder = ingested(source, tmp_path / "one")
    from_zip = ingested(packed, tmp_path / "two")
    assert [(i.sha256, i.label, i.file) for i in from_zip.images] == [
        (i.sha256, i.label, i.file) for i in from_folder.images
    ]
    assert from_zip.source == "photos.zip"
    assert not any((tmp_path / "staging").rglob("*"))


def test_the_original_and_its_copy_look_the_same_to_a_network(picture_folder: PictureFolder, tmp_path: Path) -> None:
    source = picture_folder({"cat": 1, "dog": 1}, size=(1600, 1200))
    manifest = ingested(source, tmp_path / "d")
    for entry in manifest.images:
        original = read_input(source / entry.name, 224, "bicubic").astype(float)
        copy = read_input(tmp_path / "d" / "images" / entry.file, 224, "bicubic").astype(float)
        assert np.abs(original - copy).mean() < 1.5


def test_metadata_is_left_behind(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010F] = "Secret Camera"
    exif.get_ifd(0x8825)[1] = "N"
    (tmp_path / "p" / "cat").mkdir(parents=True)
    picture(0, 0).save(tmp_path / "p" / "cat" / "1.jpg", exif=exif, comment=b"at home", icc_profile=b"profile" * 30)
    text = PngInfo()
    text.add_text("place", "at home")
    picture(0, 1).save(tmp_path / "p" / "cat" / "2.png", exif=exif, pnginfo=text, icc_profile=b"profile" * 30)
    manifest = ingested(tmp_path / "p", tmp_path / "d")
    for file in [*(tmp_path / "d" / "images").iterdir(), *(tmp_path / "d" / "thumbnails").iterdir()]:
        content = file.read_bytes()
        assert b"Secret" not in content
        assert b"at home" not in content
        image = Image.open(io.BytesIO(content))
        assert not image.getexif()
        assert not {"icc_profile", "comment", "place", "exif"} & set(image.info)
    assert len(manifest.images) == 2


def test_a_small_drawing_is_kept_to_the_pixel_and_its_thumbnail_can_be_seen(tmp_path: Path) -> None:
    (tmp_path / "p" / "a").mkdir(parents=True)
    values = np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "p" / "a" / "1.png")
    entry = ingested(tmp_path / "p", tmp_path / "d").images[0]
    assert (np.asarray(decode(tmp_path / "d" / "images" / entry.file))[..., 1] == values).all()
    assert Image.open(tmp_path / "d" / "thumbnails" / Path(entry.file).with_suffix(".jpg")).size == (128, 128)


def test_broken_files_are_refused_with_a_reason_and_never_stop_the_rest(
    picture_folder: PictureFolder, tmp_path: Path
) -> None:
    source = picture_folder({"cat": 5, "dog": 5})
    good = (source / "cat" / "000.jpg").read_bytes()
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 90_000, 90_000, 1, 24, 0, 0, 0, 0, 0, 0)
    broken = {
        "empty.jpg": (b"", "empty"),
        "cut.jpg": (good[: len(good) // 2], "truncated"),
        "text.jpg": (b"I am no picture", "not_an_image"),
        "gigapixels.bmp": (bmp, "too_large"),
        "dot.gif": (b"GIF89a\1\0\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;", "too_small"),
        "page.jpg": (b"<html><script>alert(1)</script>", "not_an_image"),
    }
    for name, (content, _) in broken.items():
        (source / "dog" / name).write_bytes(content)
    picture(3, 3).save(source / "dog" / "really_a_png.jpg", "PNG")
    manifest = ingested(source, tmp_path / "d")
    assert manifest.counts() == {"cat": 5, "dog": 6}
    assert {Path(refusal.file).name: refusal.kind for refusal in manifest.refused} == {
        name: reason for name, (_, reason) in broken.items()
    }
    assert all(refusal.message.endswith((".", "says.")) for refusal in manifest.refused)
    assert names(tmp_path / "d" / "images") == {entry.file for entry in manifest.images}


def test_identical_images_of_one_class_are_kept_once_and_under_two_labels_both(
    picture_folder: PictureFolder, tmp_path: Path
) -> None:
    source = picture_folder({"cat": 5, "dog": 5})
    for copy in ("cat/copy.jpg", "cat/zcopy.jpg", "dog/same.jpg"):
        shutil.copy(source / "cat" / "001.jpg", source / copy)
    manifest = ingested(source, tmp_path / "d")
    assert manifest.counts() == {"cat": 5, "dog": 6}
    assert manifest.dropped_duplicates == 2
    assert manifest.exact_copies == ("cat/copy.jpg", "cat/zcopy.jpg")
    assert names(tmp_path / "d" / "images") == {entry.file for entry in manifest.images}
    assert len(names(tmp_path / "d" / "thumbnails")) == 11
    (finding,) = [finding for finding in findings(manifest) if finding.kind == "two_labels"]
    assert {manifest.images[row].name for row in finding.rows} == {"cat/001.jpg", "dog/same.jpg"}


def test_class_names_of_strangers_stay_text(tmp_path: Path) -> None:
    strange = ["猫", "<script>alert(1)<script>", "a\nb", "x" * 300, " ", "..hidden?", "CON", "$(rm -rf)", "{{7*7}}"]
    pictures = {f"top/{name}/1.jpg": encoded(picture(label, 0), "JPEG") for label, name in enumerate(strange)}
    (tmp_path / "p.zip").write_bytes(zipped(pictures))
    before = set(tmp_path.rglob("*"))
    manifest = ingested(tmp_path / "p.zip", tmp_path / "d")
    assert set(manifest.classes) >= {"猫", "<script>alert(1)<script>", "a b", "unnamed", "CON", "$(rm -rf)", "{{7*7}}"}
    assert max(map(len, manifest.classes)) == 100
    written = {path.relative_to(tmp_path).parts[0] for path in set(tmp_path.rglob("*")) - before}
    assert written <= {"d", "staging"}
    assert all(path.stem.isdigit() for path in (tmp_path / "d" / "images").iterdir())
    assert json.loads((tmp_path / "d" / "manifest.json").read_text())["classes"] == list(manifest.classes)


@pytest.mark.parametrize(
    ("source", "error", "message"),
    [
        ("nothing", NotFound, "no folder"),
        ("nothing.zip", NotFound, "no zip"),
        ("text.zip", DataError, "no zip"),
        ("climbing.zip", UnsafeArchive, "climbs out"),
        ("large.zip", UnsafeArchive, "unpacks to more than"),
        ("unreadable", LayoutError, "None of the 2 pictures could be read"),
    ],
)
def test_a_source_that_cannot_be_used_is_said_in_words_and_leaves_no_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, error: type[Exception], message: str
) -> None:
    monkeypatch.setenv("GRAFT_MAX_UPLOAD_MB", "0.1")
    (tmp_path / "text.zip").write_bytes(b"not a zip")
    (tmp_path / "climbing.zip").write_bytes(zipped({"cat/1.jpg": b"x", "../../../evil.jpg": b"x"}))
    (tmp_path / "large.zip").write_bytes(zipped({"cat/1.jpg": bytes(500_000)}))
    for name in ("cat", "dog"):
        (tmp_path / "unreadable" / name).mkdir(parents=True)
        (tmp_path / "unreadable" / name / "1.jpg").write_bytes(b"no")
    with pytest.raises(error, match=message):
        ingested(tmp_path / source, tmp_path / "deep" / "er" / "d")
    assert not (tmp_path / "deep" / "er" / "d" / "manifest.json").exists()
    assert not list(tmp_path.rglob("evil*"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("place", ["images/000003.jpg", "thumbnails/000003.jpg"])
def test_a_full_disk_is_said_in_words(picture_folder: PictureFolder, tmp_path: Path, place: str) -> None:
    full = tmp_path / "d" / place
    full.parent.mkdir(parents=True)
    full.symlink_to("/dev/full")
    with pytest.raises(DiskFull, match="disk is full"):
        ingested(picture_folder(), tmp_path / "d")
    assert not (tmp_path / "d" / "manifest.json").exists()


def test_an_ingest_that_is_closed_half_way_has_no_manifest(picture_folder: PictureFolder, tmp_path: Path) -> None:
    generator = ingest(spec(picture_folder({"a": 60, "b": 60})), tmp_path / "d", staging=tmp_path / "s")
    for _ in range(2):
        next(generator)
    generator.close()
    assert not (tmp_path / "d" / "manifest.json").exists()


def test_reading_without_keeping_gives_the_same_manifest_and_writes_nothing(
    picture_folder: PictureFolder, tmp_path: Path
) -> None:
    source = picture_folder({"cat": 20, "dog": 10})
    (source / "cat" / "broken.jpg").write_bytes((source / "cat" / "000.jpg").read_bytes()[:300])
    shutil.copy(source / "dog" / "000.jpg", source / "dog" / "again.jpg")
    before = {path: path.stat().st_mtime for path in tmp_path.rglob("*")}
    events, looked = finish(ingest(spec(source), staging=tmp_path / "s"))
    assert any(isinstance(event, Progress) for event in events)
    assert {path: path.stat().st_mtime for path in tmp_path.rglob("*")} == before
    kept = ingested(source, tmp_path / "d")
    assert [entry.name for entry in looked.images] == [entry.name for entry in kept.images]
    assert (looked.refused, looked.exact_copies) == (kept.refused, kept.exact_copies)


def test_a_zip_is_read_with_the_innermost_folder_as_the_class(picture_folder: PictureFolder, tmp_path: Path) -> None:
    picture_folder({"siamese": 6, "persian": 6}, root=tmp_path / "p" / "cat")
    picture_folder({"poodle": 6}, root=tmp_path / "p" / "dog")
    packed = shutil.make_archive(str(tmp_path / "p"), "zip", tmp_path / "p")
    ways = (spec(packed, classes_from=way) for way in ("first", "innermost"))
    folded, innermost = (finish(ingest(way, staging=tmp_path / "s"))[1] for way in ways)
    assert folded.classes == ("cat", "dog")
    assert (folded.folded_folders, innermost.folded_folders) == (3, 0)
    assert set(innermost.classes) == {"siamese", "persian", "poodle"}
