"""Groups that a user gives as a CSV: how it is read, what is refused, and which pictures its lines mean."""

import shutil
from pathlib import Path

import pytest

from tests.conftest import PictureFolder
from tests.data.work import finish, ingested, spec
from tl_core.data import given_groups as given_groups_module
from tl_core.data.given_groups import Given, given_groups, placed_in_groups, with_paths
from tl_core.data.ingest import ingest
from tl_core.data.sources import Item
from tl_core.data.split import assign, group_keys
from tl_core.documents.events import Notice
from tl_core.documents.manifest import Manifest
from tl_core.errors import DataError, NotFound


def _csv(folder: Path, text: str | bytes) -> Path:
    file = folder / "table.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return file


@pytest.mark.parametrize(
    "text",
    [
        "file,group\ncat/1.jpg,a\ncat/2.jpg,b\n",
        "group;File \r\na;cat\\1.jpg\r\nb;cat\\2.jpg\r\n",
        "\ufeffFILENAME\tgroup_id\tnote\n./cat/1.jpg\ta\tsick\n\ncat/2.jpg\tb\n",
        'path|group\n"cat/1.jpg"| a\ncat/2.jpg|b|more\ncat/2.jpg|b\ncat/3.jpg|',
        "image,group\ncat/1.jpg,a\ncat/2.jpg,b\n".encode("utf-16"),
        "file;group;seen, when\rcat/1.jpg;a;1,5\rcat/2.jpg;b;2,5\r",
    ],
)
def test_a_csv_is_read_whatever_its_delimiter_and_order_of_columns(tmp_path: Path, text: str | bytes) -> None:
    given = given_groups(_csv(tmp_path, text))
    assert [(parts, group) for _, parts, group in given.rows] == [(("cat", "1.jpg"), "a"), (("cat", "2.jpg"), "b")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", r"is empty\. Its first line is to name the columns: file,group"),
        ("name,patient\n1.jpg,a\n", r"has no column of files and groups: its first line is 'name, patient'"),
        ("file;patient\n1.jpg;a\n", r"has no column of groups: .*one group or group_id"),
        ("file,group\n1.jpg,a\n ,b\n", r"Line 3 of table\.csv names no file"),
        ("file,group\n1.jpg,a\n2.jpg,a\n1.jpg,b\n", r"Line 4 of table\.csv puts '1\.jpg' into the group 'b', and line 2 into 'a'"),
        (b"file,group\n1.jpg,a\nk\xfcche.jpg,b\n", r"Line 3 of table\.csv is not UTF-8"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_csv_is_said_with_its_line(tmp_path: Path, text: str | bytes, said: str) -> None:
    with pytest.raises(DataError, match=said):
        given_groups(_csv(tmp_path, text))
    with pytest.raises(NotFound, match="the columns file and group"):
        given_groups(Path("/nowhere/table.csv"))


def test_a_line_that_is_cut_off_is_a_picture_without_a_group_or_names_no_file(tmp_path: Path) -> None:
    cut = _csv(tmp_path, "file,group\ncat/1.jpg\ncat/2.jpg,a\n")
    assert [group for *_, group in given_groups(cut).rows] == ["a"]
    with pytest.raises(DataError, match=r"Line 2 of table\.csv names no file"):
        given_groups(_csv(tmp_path, "group,file\na\n"))
    place = {Path("cat/1.jpg"): ("=dog", "1.jpg"), Path("cat/2.jpg"): ("cat", "2.jpg")}
    cut = _csv(tmp_path, "group,file\n\na,cat/1.jpg\na,cat/2.jpg,more\n")
    written = with_paths(cut, _items("cat/1.jpg", "cat/2.jpg"), place)
    assert written.decode().split() == ["group,file", "a,./=dog/1.jpg", "a,cat/2.jpg,more"], (
        "a spreadsheet would run a path that begins with ="
    )


def test_a_csv_with_far_too_many_lines_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(given_groups_module, "MOST_LINES", 3)
    assert len(given_groups(_csv(tmp_path, "file,group\n1.jpg,a\n2.jpg,a\n")).rows) == 2
    with pytest.raises(DataError, match=r"table\.csv has more than 3 lines"):
        given_groups(_csv(tmp_path, "file,group\n1.jpg,a\n2.jpg,a\n3.jpg,a\n"))


def test_a_header_of_quotes_and_commas_takes_no_longer_than_another(tmp_path: Path) -> None:
    """The delimiter is counted: `csv.Sniffer` would take time by the square of the header's length, hours for this one."""
    header = "file,group,'" + " a 'b, " * 500_000
    assert [group for *_, group in given_groups(_csv(tmp_path, f"{header}\n1.jpg,a\n")).rows] == ["a"]


def test_a_path_of_very_many_folders_takes_no_memory() -> None:
    items = _items("cat/1.jpg")
    _, strange = placed_in_groups(items, _given("cat/1.jpg", "a/" * 100_000 + "dog/1.jpg"))
    assert strange == 1


def _items(*names: str) -> list[Item]:
    return [Item(Path(name), name, "cat", None, tuple(name.split("/")[:-1])) for name in names]


def _given(*paths: str) -> Given:
    return Given("table.csv", tuple((line, tuple(path.split("/")), "a") for line, path in enumerate(paths, 2)))


def test_a_line_names_a_picture_by_the_end_of_its_path() -> None:
    items = _items("cat/1.jpg", "cat/2.jpg", "dog/2.jpg", "dog/3.jpg", "2.jpg")
    placed, strange = placed_in_groups(items, _given("1.jpg", "home/photos/cat/2.jpg", "2.jpg", "old/3.jpg", "9.jpg"))
    assert [item.group for item in placed] == ["a", "a", None, None, "a"]
    assert strange == 2, "a picture of another folder is not meant"


def test_a_line_that_may_mean_two_pictures_or_a_csv_that_means_none_is_refused() -> None:
    items = _items("cat/1.jpg", "dog/1.jpg")
    with pytest.raises(DataError, match=r"Line 2 of table\.csv may mean 'cat/1\.jpg' or 'dog/1\.jpg'"):
        placed_in_groups(items, _given("1.jpg"))
    with pytest.raises(DataError, match=r"No line .* Line 2 names 'cup/1\.jpg'; a picture here is 'cat/1\.jpg'"):
        placed_in_groups(items, _given("cup/1.jpg"))


def test_what_the_user_gives_is_kept_in_the_manifest_and_never_divided(
    picture_folder: PictureFolder, tmp_path: Path
) -> None:
    source = picture_folder({"cat": 12, "dog": 12})
    rows = [f"{name}/{number:03}.jpg;{name} {number // 3}" for name in ("cat", "dog") for number in range(12)]
    file = tmp_path / "patients.csv"
    file.write_text("\n".join(["file;group", *rows, "cup/1.jpg;x"]))
    asked = spec(source).model_copy(update={"groups_file": str(file)})
    events, manifest = finish(ingest(asked, tmp_path / "d", staging=tmp_path / "s"))
    said = [event.message for event in events if isinstance(event, Notice)]
    assert said == ["patients.csv gives 24 of 24 pictures a group; 1 of its lines name none that is here."]
    kept = Manifest.read(tmp_path / "d" / "manifest.json")
    assert [image.given_group for image in kept.images] == [row.split(";")[1] for row in rows]
    for seed in range(3):
        splits = assign(manifest, seed)
        assert set(splits) == {"train", "val", "test"}
        for group in range(8):
            assert len(set(splits[3 * group : 3 * group + 3])) == 1


def test_the_group_of_an_exact_copy_goes_to_the_picture_that_stays(
    picture_folder: PictureFolder, tmp_path: Path
) -> None:
    source = picture_folder({"cat": 6, "dog": 5})
    cat = source / "cat"
    for number in range(3):
        shutil.copy(cat / f"{number:03}.jpg", cat / f"copy{number}.jpg")
    lines = {"copy0": "a", "001": "b", "copy1": "c", "003": "c", "004": "d", "005": "e", "002": "e", "copy2": "d"}
    rows = "".join(f"cat/{name}.jpg,{group}\n" for name, group in lines.items())
    (source / "groups.csv").write_text(f"file,group\n{rows}")
    manifest = ingested(source, tmp_path / "d")
    assert manifest.dropped_duplicates == 3
    assert [image.given_group for image in manifest.images] == ["a", "b", "e", "b", "e", "e", *[None] * 5]


def test_found_groups_join_the_given_ones(picture_folder: PictureFolder, tmp_path: Path) -> None:
    manifest = ingested(picture_folder({"cat": 6, "dog": 6}), tmp_path / "d")
    given = {0: "a", 1: "a", 2: "b", 3: "b", 4: "c"}
    found = {1: 0, 2: 0, 5: 1, 6: 1}
    images = [
        image.model_copy(update={"given_group": given.get(row), "group": found.get(row)})
        for row, image in enumerate(manifest.images)
    ]
    keys = group_keys(manifest.model_copy(update={"images": tuple(images), "grouped": True})).tolist()
    assert len({*keys[:4]}) == 1, "a near-copy between two given groups joins them"
    assert keys[5] == keys[6]
    assert len(set(keys)) == 8


def test_a_file_beside_the_pictures_is_read_and_one_of_another_kind_passed_over(
    picture_folder: PictureFolder, tmp_path: Path
) -> None:
    source = picture_folder({"cat": 6, "dog": 6})
    (source / "cat" / "groups.csv").write_text("file,group\n000.jpg,inside a class\n")
    assert all(image.given_group is None for image in ingested(source, tmp_path / "inside").images)
    (source / "Groups.csv").write_text("file,group\ncat/000.jpg,a\ncat/001.jpg,a\n")
    found = ingested(source, tmp_path / "one")
    assert [image.given_group for image in found.images[:3]] == ["a", "a", None]
    (source / "pets").mkdir()
    for name in ("cat", "dog", "Groups.csv"):
        (source / name).rename(source / "pets" / name)
    (source / "groups.csv").write_text("file,group\ncat/002.jpg,b\n")
    assert [image.given_group for image in ingested(source, tmp_path / "outer").images[:3]] == [None, None, "b"]
    (source / "groups.csv").write_text("name,members\nred,4\n")
    assert all(image.given_group is None for image in ingested(source, tmp_path / "two").images)
