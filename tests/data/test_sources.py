import os
from collections import Counter
from pathlib import Path

import pytest

from tests.conftest import picture
from tl_core.data import sources
from tl_core.data.sources import Layout, SourceFile, layout_of, shortened, shown, walk
from tl_core.documents.spec import ClassesFrom
from tl_core.errors import LayoutError


def files(*places: str) -> list[SourceFile]:
    return [SourceFile(Path("/nowhere") / place, tuple(place.split("/"))) for place in places]


def splits(layout: Layout) -> dict[tuple[str, str | None], int]:
    return dict(Counter((item.class_name, item.split) for item in layout.items))


BREEDS = ("cat/siamese/1.jpg", "cat/persian/young/2.jpg", "cat/3.jpg", "dog/4.jpg")
BELOW = ("train/pet/cat/1.jpg", "train/pet/dog/2.jpg", "test/pet/cat/3.jpg", "test/wild/wolf/4.jpg")
STRAY = ("__MACOSX/photos/cat/._1.jpg", "photos/.DS_Store", "photos/cat/Thumbs.db", "photos/readme.txt", ".git/x.jpg")
BOTH = {("cat", None): 1, ("dog", None): 1}
PARTS = {("train", None): 1, ("test", None): 1}


@pytest.mark.parametrize(
    ("places", "classes_from", "expected", "folded", "passed_over"),
    [
        (("cat/1.jpg", "cat/2.PNG", "dog/3.heic"), "first", {("cat", None): 2, ("dog", None): 1}, 0, 0),
        (BREEDS, "first", {("cat", None): 3, ("dog", None): 1}, 3, 0),
        (BREEDS, "innermost", {(name, None): 1 for name in ("siamese", "young", "cat", "dog")}, 0, 0),
        *(((f"{wrap}cat/1.jpg", f"{wrap}dog/2.jpg"), "first", BOTH, 0, 0) for wrap in ("photos/", "a/b/c/", "train/")),
        (("cat/1.jpg", "cat/2.jpg"), "first", {("cat", None): 2}, 0, 0),
        (("photos/cat/1.jpg", "photos/dog/1.jpg", *STRAY), "first", BOTH, 0, len(STRAY)),
        (("train/cat/1.jpg", "test/cat/1.jpg", "extra/cat/1.jpg"), "first", {**PARTS, ("extra", None): 1}, 3, 0),
        (("train/1.jpg", "test/2.jpg"), "first", PARTS, 0, 0),
        (("train/cat/1.jpg", "test/2.jpg"), "first", PARTS, 1, 0),
        (
            ("train/cat/1.jpg", "test/cat/2.jpg", "labels/all.csv"),
            "first", {("cat", "train"): 1, ("cat", "test"): 1}, 0, 1,
        ),
        (BELOW, "first", {("pet", "train"): 2, ("pet", "test"): 1, ("wild", "test"): 1}, 4, 0),
        (
            BELOW, "innermost",
            {("cat", "train"): 1, ("dog", "train"): 1, ("cat", "test"): 1, ("wolf", "test"): 1}, 0, 0,
        ),
    ],
)  # fmt: skip
def test_folders_become_classes_and_parts(
    places: tuple[str, ...],
    classes_from: ClassesFrom,
    expected: dict[tuple[str, str | None], int],
    folded: int,
    passed_over: int,
) -> None:
    layout = layout_of(files(*places), classes_from)
    assert splits(layout) == expected
    assert layout.classes == tuple(sorted({name for name, _ in expected}))
    assert (layout.folded_folders, layout.passed_over, layout.refused) == (folded, passed_over, ())


@pytest.mark.parametrize(
    ("place", "kind"),
    [("cover.jpg", "no_class"), ("cat/2.svg", "unsupported_format"), ("cat/3.CR2", "unsupported_format")],
)
def test_a_picture_that_cannot_be_taken_is_refused_with_a_reason(place: str, kind: str) -> None:
    layout = layout_of(files("photos/cat/1.jpg", "photos/dog/1.jpg", f"photos/{place}"))
    assert splits(layout) == BOTH
    assert [(refusal.file, refusal.kind) for refusal in layout.refused] == [(f"photos/{place}", kind)]


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
    layout = layout_of(files(*places))
    assert splits(layout) == {(name, split): 1 for name in ("cat", "dog") for split in ("train", "val", "test")}


@pytest.mark.parametrize(
    ("places", "message"),
    [((), "no pictures"), (("cat/readme.txt", "x.csv"), "no pictures"), (("1.jpg", "2.jpg"), "beside each other")],
)
def test_nothing_to_learn_from_is_said_in_words(places: tuple[str, ...], message: str) -> None:
    with pytest.raises(LayoutError, match=message):
        layout_of(files(*places))


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


SHORT = "a" * 99 + "…"


@pytest.mark.parametrize(
    "names",
    [("x" * 300, "x" * 300 + "y", "a/b", "\n"), (f"{SHORT} (2)", SHORT, "a" * 101, "a" * 102)],
    ids=["long and strange", "called like one that was shortened"],
)
def test_class_names_of_strangers_stay_apart_and_short(names: tuple[str, ...]) -> None:
    layout = layout_of([SourceFile(Path("/n/1"), (name, "1.jpg")) for name in names])
    assert len(layout.classes) == 4
    assert max(map(len, layout.classes)) <= 110
    assert "\n" not in layout.classes


def test_the_same_name_composed_and_decomposed_is_one_class() -> None:
    layout = layout_of(files("train/Mädchen/1.jpg", "test/Ma\u0308dchen/1.jpg"))
    assert layout.classes == ("Mädchen",)


def test_a_picture_without_an_extension_is_seen_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "photo").write_bytes(b"\xff\xd8\xff\xe0" + b"x" * 20)
    (tmp_path / "cat" / "notes").write_bytes(b"dear diary")
    # The first bytes of a BMP say too little.
    for name in ("drawing", "drawing.bmp"):
        picture(0, 0).save(tmp_path / "cat" / name, "BMP")
    layout = layout_of(walk(tmp_path))
    assert [item.name for item in layout.items] == ["cat/drawing.bmp", "cat/photo"]
    assert layout.passed_over == 2


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


def test_classes_that_begin_alike_are_told_apart_without_a_search_from_the_beginning_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut: list[str] = []
    monkeypatch.setattr(sources, "shortened", lambda text: cut.append(text) or shortened(text))
    layout = layout_of(files(*(f"{'a' * 100}{number:03}/1.jpg" for number in range(500))))
    names = [item.class_name for item in layout.items]
    assert names == [SHORT, *(f"{SHORT} ({number})" for number in range(2, 501))]
    assert len(cut) == 500
