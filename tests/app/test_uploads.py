"""What a browser sends is put on disk inside the staging folder, whatever it calls itself."""

import errno
import io
import os
from pathlib import Path

import pytest

from tl_core.errors import DataError, DiskFull, LayoutError
from tl_core.runs.store.store import Store, new_token
from tl_core.runs.store.sweep import unread_uploads
from ui.data_page import uploads


class Sent(io.BytesIO):
    """An upload in the form in which Streamlit hands it over."""

    def __init__(self, name: str, content: bytes = b"x") -> None:
        super().__init__(content)
        self.name = name
        self.size = len(content)


def _inside(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (["photos/cat/a.jpg", "photos/dog/a.jpg"], ["photos/cat/a.jpg", "photos/dog/a.jpg"]),
        (["p/a.jpg", "p/a.jpg"], ["p/1-a.jpg", "p/a.jpg"]),
        (["p/.thumbs/a.jpg", "p/cat/.DS_Store"], ["p/.thumbs/a.jpg", "p/cat/.DS_Store"]),
    ],
    ids=["tree", "one name", "hidden"],
)
def test_a_folder_keeps_its_tree_and_every_file(tmp_path: Path, sent: list[str], kept: list[str]) -> None:
    root = uploads.save_tree([Sent(name) for name in sent], tmp_path)
    assert _inside(root) == kept
    assert uploads.tree_name([Sent(sent[0])]) == kept[0].split("/")[0]


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "a/../../b.jpg",
        "..\\..\\c.jpg",
        "..\u202e/d.jpg",
        "a\x00/b.jpg",
        "..",
        "/",
        "x" * 400 + "/y.jpg",
    ],
)
def test_no_name_leads_out_of_staging(tmp_path: Path, name: str) -> None:
    staging = tmp_path / "in" / "staging"
    staging.mkdir(parents=True)
    root = uploads.save_tree([Sent(name)], staging)
    assert len(_inside(root)) == 1
    assert [path for path in tmp_path.rglob("*") if path.is_file() and root not in path.parents] == []


@pytest.mark.parametrize(
    ("name", "kept"), [("cups.zip", "cups.zip"), ("../../cups.zip", "\u2215..\u2215cups.zip"), ("..", "upload.zip")]
)
def test_a_zip_keeps_its_name_so_that_what_is_wrong_with_it_is_said_under_it(
    tmp_path: Path, name: str, kept: str
) -> None:
    assert uploads.save_zip(Sent(name), tmp_path) == tmp_path / kept


def test_a_csv_of_groups_lies_beside_the_pictures_whatever_it_is_called(tmp_path: Path) -> None:
    uploads.save_zip(Sent("groups.csv"), tmp_path)
    assert uploads.save_groups(Sent("groups.csv", b"file,group"), tmp_path).read_bytes() == b"file,group"
    (tmp_path / "other").mkdir()
    assert uploads.save_groups(Sent("../x.csv"), tmp_path / "other").parent == tmp_path / "other" / ".groups"


def test_a_folder_with_more_levels_than_are_read_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    # No level of a path is made twice by one call, so seven files make folders as deep as a path can be long.
    files = [Sent("a/" * levels + "b.jpg") for levels in (100, 300, 600, 900, 1_200, 1_500, 1_997)]
    with pytest.raises(LayoutError, match=r"300 deep inside one another; 100 are read\. Nothing was kept"):
        uploads.save_tree(files, tmp_path)
    assert list(tmp_path.iterdir()) == []
    (path,) = _inside(uploads.save_tree(files[:1], tmp_path))
    assert path.count("/") == 100


def test_a_folder_with_more_files_and_folders_than_are_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(uploads, "MAX_FILES", 6)
    for files in ([Sent(f"p/{number}.jpg") for number in range(6)], [Sent("p/a/b/1.jpg"), Sent("p/c/d/2.jpg")]):
        with pytest.raises(DataError, match=r"more than 6 files and folders\. Nothing was kept"):
            uploads.save_tree(files, tmp_path)
        assert list(tmp_path.iterdir()) == []
    assert len(_inside(uploads.save_tree([Sent(f"p/{number}.jpg") for number in range(4)], tmp_path))) == 4


def test_an_upload_over_the_limit_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_MAX_UPLOAD_MB", "0.001")
    with pytest.raises(DataError, match="one upload takes"):
        uploads.save_zip(Sent("a.zip", b"x" * 2000), tmp_path)


def test_photos_are_added_class_by_class_and_a_class_can_be_dropped(tmp_path: Path) -> None:
    draft = uploads.Draft(tmp_path)
    draft.add([Sent("IMG_1.HEIC"), Sent("IMG_2.jpg")])
    assert len(draft.waiting()) == 2
    draft.close_class("cup/mug")
    draft.add([Sent("x")])
    draft.close_class("../plate")
    assert {name: len(files) for name, files in draft.classes().items()} == {"cup\u2215mug": 2, "\u2215plate": 1}
    assert all(tmp_path in path.parents for files in draft.classes().values() for path in files)
    draft.drop("cup\u2215mug")
    assert list(draft.classes()) == ["\u2215plate"]


class _Unwritable(Sent):
    def read(self, *size: int | None) -> bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_photos_that_the_disk_has_no_room_for_leave_nothing(tmp_path: Path) -> None:
    draft = uploads.Draft(tmp_path / "draft")
    draft.add([Sent("a.jpg")])
    draft.add([Sent("a.jpg")], "cup")
    for name in (None, "cup", "plate"):
        with pytest.raises(DiskFull):
            draft.add([Sent("b.jpg"), _Unwritable("c.jpg")], name)
    assert _inside(tmp_path) == ["draft/classes/cup/00000.jpg", "draft/waiting/00000.jpg"]
    assert list(draft.classes()) == ["cup"]


def test_a_draft_that_somebody_adds_to_is_not_removed_as_forgotten() -> None:
    workspace = Store.default().workspace(new_token())
    draft = uploads.Draft(workspace.staging())
    for change in (
        lambda: draft.add([Sent("a.jpg")]),
        lambda: draft.add([Sent("b.jpg")]),
        lambda: draft.close_class("cup"),
        lambda: draft.add([Sent("c.jpg")], "cup"),
        lambda: draft.drop("cup"),
    ):
        os.utime(draft.folder, (0, 0))
        change()
        assert unread_uploads(workspace, since=1.0) == []


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "needs a name"),
        ("   ", "needs a name"),
        ("...", "needs a name"),
        ("\x00\n", "needs a name"),
        ("x" * 201, "at most 200 characters"),
        pytest.param("/a" * 1_000_000, "at most 200 characters", id="megabytes"),
    ],
)
def test_a_class_whose_name_can_be_none_is_asked_for_another(tmp_path: Path, name: str, problem: str) -> None:
    draft = uploads.Draft(tmp_path)
    draft.add([Sent("a.jpg")])
    with pytest.raises(LayoutError, match=problem):
        draft.close_class(name)
    assert draft.classes() == {}
    assert len(draft.waiting()) == 1
