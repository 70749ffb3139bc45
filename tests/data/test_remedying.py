"""A copy of a folder in which files are left out or lie in another class."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PATIENCE
from tl_core.data import class_folders, sources
from tl_core.data.remedying import planned, write_copy
from tl_core.documents.base import MANY_PROBLEMS
from tl_core.documents.remedies import Remedies
from tl_core.documents.spec import ClassesFrom
from tl_core.errors import DocumentError, SpecError


def folder(root: Path, *names: str) -> Path:
    """Files called `names`, each of which holds its name; nothing of a picture is needed to copy it."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def copied(source: Path, remedies: Remedies, into: Path, classes: ClassesFrom = "first") -> dict[str, str]:
    """What was in each file of the copy before, by the file's name in the copy."""
    files = sources.walk(source)
    write_copy(planned(files, class_folders.find(files, classes), remedies), into)
    return {str(path.relative_to(into)): path.read_text() for path in into.rglob("*") if path.is_file()}


def test_files_are_left_out_moved_and_otherwise_as_they_were(tmp_path: Path) -> None:
    source = folder(tmp_path / "p", "cat/1.jpg", "cat/2.jpg", "cat/3.jpg", "dog/1.jpg", "dog/notes.txt", "list.csv")
    remedies = Remedies(leave_out=("cat/2.jpg", "dog/notes.txt"), move={"cat/3.jpg": "dog"}, keep=("cat/1.jpg",))
    assert copied(source, remedies, tmp_path / "out") == {
        "cat/1.jpg": "cat/1.jpg",
        "dog/1.jpg": "dog/1.jpg",
        "dog/3.jpg": "cat/3.jpg",
        "list.csv": "list.csv",
    }
    assert (tmp_path / "out/cat/1.jpg").stat().st_mtime_ns == (source / "cat/1.jpg").stat().st_mtime_ns
    assert not (tmp_path / "out/cat/1.jpg").samefile(source / "cat/1.jpg")


def test_a_moved_picture_replaces_none_of_the_same_name(tmp_path: Path) -> None:
    source = folder(tmp_path / "p", "cat/1.jpg", "dog/1.jpg", "dog/1 (2).jpg", "hen/1.jpg")
    remedies = Remedies(move={"cat/1.jpg": "dog", "hen/1.jpg": "dog"})
    assert copied(source, remedies, tmp_path / "out") == {
        "dog/1.jpg": "dog/1.jpg",
        "dog/1 (2).jpg": "dog/1 (2).jpg",
        "dog/1 (3).jpg": "cat/1.jpg",
        "dog/1 (4).jpg": "hen/1.jpg",
    }


def test_a_picture_takes_the_name_of_one_that_left(tmp_path: Path) -> None:
    source = folder(tmp_path / "p", "cat/1.jpg", "dog/1.jpg")
    swapped = copied(source, Remedies(move={"cat/1.jpg": "dog", "dog/1.jpg": "cat"}), tmp_path / "out")
    assert swapped == {"dog/1.jpg": "cat/1.jpg", "cat/1.jpg": "dog/1.jpg"}


def test_a_moved_picture_stays_on_its_side_of_the_users_own_split(tmp_path: Path) -> None:
    source = folder(tmp_path / "p", "train/cat/1.jpg", "train/dog/1.jpg", "test/cat/2.jpg", "test/cat/3.jpg")
    found = copied(source, Remedies(move={"test/cat/2.jpg": "dog"}), tmp_path / "out")
    assert found.keys() == {"train/cat/1.jpg", "train/dog/1.jpg", "test/dog/2.jpg", "test/cat/3.jpg"}


def test_deeper_folders_go_along_and_the_innermost_folder_may_be_the_class(tmp_path: Path) -> None:
    source = folder(tmp_path / "p", "cat/may/1.jpg", "dog/june/2.jpg")
    first = copied(source, Remedies(move={"cat/may/1.jpg": "dog"}), tmp_path / "first")
    assert first.keys() == {"dog/may/1.jpg", "dog/june/2.jpg"}
    innermost = copied(source, Remedies(move={"cat/may/1.jpg": "june"}), tmp_path / "innermost", "innermost")
    assert innermost.keys() == {"dog/june/1.jpg", "dog/june/2.jpg"}


def test_all_that_is_not_there_is_named_at_once_and_nothing_is_written(tmp_path: Path) -> None:
    source = folder(tmp_path / "p", "cat/1.jpg", "dog/1.jpg", "dog/notes.txt")
    remedies = Remedies(leave_out=("cat/9.jpg",), move={"cat/1.jpg": "hen", "dog/notes.txt": "cat"}, keep=("8.jpg",))
    with pytest.raises(SpecError) as raised:
        copied(source, remedies, tmp_path / "out")
    for word in ("'cat/9.jpg', '8.jpg'", "'dog/notes.txt'", "class 'hen'", "'cat', 'dog'"):
        assert word in raised.value.message
    assert not (tmp_path / "out").exists()


def test_of_very_many_files_that_are_not_there_some_are_named(tmp_path: Path) -> None:
    source = folder(tmp_path / "p", "cat/1.jpg", "dog/1.jpg")
    names = tuple(f"{number}.jpg" for number in range(MANY_PROBLEMS + 2))
    with pytest.raises(SpecError, match=rf"'{MANY_PROBLEMS - 1}\.jpg' and 2 more\."):
        copied(source, Remedies(leave_out=names), tmp_path / "out")
    with pytest.raises(SpecError, match=rf"'{MANY_PROBLEMS - 1}\.jpg'\. Name files"):
        copied(source, Remedies(leave_out=names[:MANY_PROBLEMS]), tmp_path / "out")


@pytest.mark.parametrize("parts", [("..", "1.jpg"), ("cat", "a/b.jpg"), ("cat", ".."), ("", "1.jpg")])
def test_a_name_that_leads_out_of_the_copy_is_refused(tmp_path: Path, parts: tuple[str, ...]) -> None:
    given = folder(tmp_path / "p", "1.jpg") / "1.jpg"
    with pytest.raises(SpecError, match="no folder can hold"):
        write_copy([(given, ("cat", "1.jpg")), (given, parts)], tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"p"}


def test_a_file_has_one_remedy(tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text('{"leave_out": ["cat/1.jpg"], "move": {"cat/1.jpg": "dog"}}')
    with pytest.raises(DocumentError, match=r"more than one of leave_out, move and keep: cat/1\.jpg"):
        Remedies.read(tmp_path / "r.json")


@pytest.mark.parametrize("there", [True, False])
def test_a_copy_whose_process_is_killed_does_not_appear_and_what_is_left_goes_with_the_next_one(
    tmp_path: Path, there: bool
) -> None:
    source = folder(tmp_path / "p", *(f"{name}/{number}.jpg" for name in ("cat", "dog") for number in range(4)))
    out = tmp_path / "out"
    if there:
        out.mkdir()
    code = f"""
import os, shutil, signal
from pathlib import Path
from tl_core.data import remedying
files, really = [], shutil.copy2
def copy(path, target):
    really(path, target)
    files.append(path)
    if len(files) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
remedying.shutil.copy2 = copy
files_of = sorted(path for path in Path({str(source)!r}).rglob("*.jpg"))
remedying.write_copy([(path, path.parts[-2:]) for path in files_of], Path({str(out)!r}))
"""
    killed = subprocess.run([sys.executable, "-c", code], timeout=PATIENCE, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (list(out.iterdir()) if there else out.exists()) in ([], False)
    (left,) = tmp_path.glob(".out.*")
    os.utime(left, (0, 0))
    copied(source, Remedies(), out)
    assert sum(path.is_file() for path in out.rglob("*")) == 8
    assert {path.name for path in tmp_path.iterdir()} == {"p", "out"}
