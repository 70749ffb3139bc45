from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import picture
from tl_core.data import class_folders
from tl_core.data.class_folders import Layout, find
from tl_core.data.sources import SourceFile, shortened, shown, walk
from tl_core.errors import LayoutError


def files(*places: str) -> list[SourceFile]:
    return [SourceFile(Path("/nowhere") / place, tuple(place.split("/"))) for place in places]


def classes(layout: Layout) -> dict[str, int]:
    return dict(Counter(item.class_name for item in layout.items))


def splits(layout: Layout) -> dict[tuple[str, str | None], int]:
    return dict(Counter((item.class_name, item.split) for item in layout.items))


def test_the_class_is_the_first_folder() -> None:
    layout = find(files("cat/1.jpg", "cat/2.PNG", "dog/3.heic"))
    assert classes(layout) == {"cat": 2, "dog": 1}
    assert layout.classes == ("cat", "dog")
    assert (layout.passed_over, layout.folded_folders, layout.refused) == (0, 0, ())


def test_deeper_levels_are_folded_in_and_counted() -> None:
    places = files("cat/siamese/1.jpg", "cat/persian/young/2.jpg", "cat/3.jpg", "dog/4.jpg")
    layout = find(places)
    assert classes(layout) == {"cat": 3, "dog": 1}
    assert layout.folded_folders == 3


def test_innermost_takes_the_last_level() -> None:
    layout = find(files("cat/siamese/1.jpg", "cat/persian/young/2.jpg", "cat/3.jpg", "dog/4.jpg"), "innermost")
    assert classes(layout) == {"siamese": 1, "young": 1, "cat": 1, "dog": 1}
    assert layout.folded_folders == 0


@pytest.mark.parametrize("wrap", ["photos/", "a/b/c/", "train/"])
def test_wrapping_folders_are_passed_through(wrap: str) -> None:
    assert classes(find(files(f"{wrap}cat/1.jpg", f"{wrap}dog/2.jpg"))) == {"cat": 1, "dog": 1}


def test_a_single_class_is_not_taken_for_a_wrapping_folder() -> None:
    assert classes(find(files("cat/1.jpg", "cat/2.jpg"))) == {"cat": 2}


def test_stray_files_are_passed_over_and_counted() -> None:
    stray = (
        "__MACOSX/photos/cat/._1.jpg",
        "photos/.DS_Store",
        "photos/cat/Thumbs.db",
        "photos/readme.txt",
        ".git/x.jpg",
    )
    layout = find(files("photos/cat/1.jpg", "photos/dog/1.jpg", *stray))
    assert classes(layout) == {"cat": 1, "dog": 1}
    assert layout.passed_over == len(stray)


def test_a_picture_outside_of_the_class_folders_is_refused_with_a_reason() -> None:
    layout = find(files("photos/cat/1.jpg", "photos/dog/1.jpg", "photos/cover.jpg"))
    assert classes(layout) == {"cat": 1, "dog": 1}
    assert [(refusal.file, refusal.kind) for refusal in layout.refused] == [("photos/cover.jpg", "no_class")]


def test_kinds_of_pictures_that_are_not_read_are_refused_with_a_reason() -> None:
    layout = find(files("cat/1.jpg", "cat/2.svg", "cat/3.CR2"))
    assert [refusal.kind for refusal in layout.refused] == ["unsupported_format"] * 2


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Training", "VALID", "Testing"),
        ("training_set", "dev", "test_set"),
        ("TRAIN", "validation", "test"),
    ],
)
@pytest.mark.parametrize("wrap", ["", "data/"])
def test_split_folders_in_any_case(train: str, val: str, test: str, wrap: str) -> None:
    places = [f"{wrap}{split}/{name}/1.jpg" for split in (train, val, test) for name in ("cat", "dog")]
    layout = find(files(*places))
    assert splits(layout) == {(name, split): 1 for name in ("cat", "dog") for split in ("train", "val", "test")}


def test_split_names_do_not_count_beside_another_folder() -> None:
    layout = find(files("train/cat/1.jpg", "test/cat/1.jpg", "extra/cat/1.jpg"))
    assert splits(layout) == {("train", None): 1, ("test", None): 1, ("extra", None): 1}


def test_split_names_do_not_count_without_class_folders() -> None:
    layout = find(files("train/1.jpg", "test/2.jpg"))
    assert splits(layout) == {("train", None): 1, ("test", None): 1}
    mixed = find(files("train/cat/1.jpg", "test/2.jpg"))
    assert splits(mixed) == {("train", None): 1, ("test", None): 1}


def test_a_folder_of_other_files_beside_the_splits_does_not_matter() -> None:
    layout = find(files("train/cat/1.jpg", "test/cat/2.jpg", "labels/all.csv"))
    assert splits(layout) == {("cat", "train"): 1, ("cat", "test"): 1}
    assert layout.passed_over == 1


def test_classes_below_splits_fold_and_go_innermost_too() -> None:
    places = files("train/pet/cat/1.jpg", "train/pet/dog/2.jpg", "test/pet/cat/3.jpg", "test/wild/wolf/4.jpg")
    assert find(places).classes == ("pet", "wild")
    assert find(places).folded_folders == 4
    assert find(places, "innermost").classes == ("cat", "dog", "wolf")


@pytest.mark.parametrize(
    ("places", "message"),
    [((), "no pictures"), (("cat/readme.txt", "x.csv"), "no pictures"), (("1.jpg", "2.jpg"), "beside each other")],
)
def test_nothing_to_learn_from_is_said_in_words(places: tuple[str, ...], message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        find(files(*places))


@pytest.mark.parametrize(
    ("raw", "display"),
    [
        ("猫", "猫"),
        ("кошка", "кошка"),
        ("قطة", "قطة"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("<script>alert(1)</script>", "<script>alert(1)</script>"),
        ("two\nlines\r\n", "two lines"),
        ("a\x1b[31mred\x00", "a [31mred"),
        ("evil\u202egpj.exe", "evil gpj.exe"),
        ("Ma\u0308dchen", "Mädchen"),
        ("bad\udcffbytes", "bad?bytes"),
        ("  ", ""),
    ],
)
def test_names_are_made_fit_to_be_shown(raw: str, display: str) -> None:
    assert shown(raw) == display


def test_class_names_of_strangers_stay_apart_and_short() -> None:
    long = "x" * 300
    layout = find(
        [
            SourceFile(Path("/n/1"), (long, "1.jpg")),
            SourceFile(Path("/n/2"), (long + "y", "1.jpg")),
            SourceFile(Path("/n/3"), ("a/b", "1.jpg")),
            SourceFile(Path("/n/4"), ("\n", "1.jpg")),
        ]
    )
    assert len(layout.classes) == 4
    assert max(map(len, layout.classes)) <= 110
    assert {"a/b", "unnamed"} <= set(layout.classes)


def test_the_same_name_composed_and_decomposed_is_one_class() -> None:
    layout = find(files("train/Mädchen/1.jpg", "test/Ma\u0308dchen/1.jpg"))
    assert layout.classes == ("Mädchen",)


def test_a_picture_without_an_extension_is_seen_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "photo").write_bytes(b"\xff\xd8\xff\xe0" + b"x" * 20)
    (tmp_path / "cat" / "notes").write_bytes(b"dear diary")
    layout = find(walk(tmp_path))
    assert [item.name for item in layout.items] == ["cat/photo"]
    assert layout.passed_over == 1


def test_a_walk_follows_links_but_not_in_circles_and_opens_no_pipes(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "1.jpg").write_bytes(b"x")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "cat").symlink_to(tmp_path / "real")
    (tmp_path / "root" / "circle").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "gone.jpg").symlink_to(tmp_path / "nothing")
    (tmp_path / "root" / "self.jpg").symlink_to(tmp_path / "root" / "self.jpg")
    os.mkfifo(tmp_path / "root" / "pipe.jpg")
    assert [file.parts for file in walk(tmp_path / "root")] == [("cat", "1.jpg")]


def test_folders_without_end_are_said_in_words(tmp_path: Path) -> None:
    (tmp_path / ("a/" * 100)).mkdir(parents=True)
    assert walk(tmp_path) == []
    (tmp_path / ("a/" * 110)).mkdir(parents=True)
    with pytest.raises(LayoutError, match="more than 100 deep"):
        walk(tmp_path)


def test_a_bmp_without_an_extension_is_passed_over_since_its_first_bytes_say_too_little(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    picture(0, 0).save(tmp_path / "cat" / "drawing", "BMP")
    picture(0, 0).save(tmp_path / "cat" / "drawing.bmp")
    layout = find(walk(tmp_path))
    assert [item.name for item in layout.items] == ["cat/drawing.bmp"]
    assert layout.passed_over == 1


def test_classes_that_begin_alike_are_told_apart_without_a_search_from_the_beginning_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut: list[str] = []
    monkeypatch.setattr(class_folders, "shortened", lambda text: cut.append(text) or shortened(text))
    layout = find(files(*(f"{'a' * 100}{number:03}/1.jpg" for number in range(500))))
    names = [item.class_name for item in layout.items]
    short = "a" * 99 + "…"
    assert names == [short, *(f"{short} ({number})" for number in range(2, 501))]
    assert len(cut) == 500


def test_a_folder_that_is_called_like_a_numbered_class_stays_apart_from_it() -> None:
    short = "a" * 99 + "…"
    layout = find(files(f"{short} (2)/1.jpg", f"{short}/1.jpg", f"{'a' * 101}/1.jpg", f"{'a' * 102}/1.jpg"))
    assert len(layout.classes) == 4
