"""What is replaced on the disk: nothing of another kind is deleted for it, and no reader finds half of it; and how many files may be open."""

import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import PATIENCE
from tl_core import disk, locks
from tl_core.disk import PassingFolder, appearing, in_words, read_once, remove, size_of, write_atomically


def test_a_file_does_not_delete_the_folder_that_has_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(OSError, match="directory"):
        write_atomically(folder, b"{}")
    assert (folder / "thesis.txt").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_does_not_delete_the_file_that_has_its_name(tmp_path: Path) -> None:
    file = tmp_path / "bundle"
    file.write_text("mine")
    with pytest.raises(OSError, match="directory"), appearing(file, "the bundle") as temporary:
        temporary.mkdir()
    assert file.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [file]


def test_the_old_folder_is_removed_only_when_the_new_one_stands_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _holding("old", tmp_path)
    seen: list[list[str]] = []
    really = disk.remove

    def remove(path: Path) -> None:
        seen.append([file.name for file in folder.iterdir()])
        really(path)

    monkeypatch.setattr(disk, "remove", remove)
    with appearing(folder, "the bundle") as temporary:
        temporary.mkdir()
        (temporary / "new").write_text("new")
    assert seen
    assert all(names == ["new"] for names in seen)
    assert list(tmp_path.iterdir()) == [folder]


def test_the_old_folder_stays_where_the_new_one_was_not_finished(tmp_path: Path) -> None:
    folder = _holding("old", tmp_path)
    with pytest.raises(FileNotFoundError), appearing(folder, "the bundle") as temporary:
        (temporary / "missing").read_text()
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [folder]


def test_the_old_folder_comes_back_if_the_new_one_cannot_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _holding("old", tmp_path)

    def refuse(here: Path, there: Path) -> Path:
        raise PermissionError("refused")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(PermissionError), appearing(folder, "the bundle") as temporary:
        temporary.mkdir()
    assert [path.name for path in folder.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [folder]


def _holding(name: str, where: Path) -> Path:
    folder = where / "bundle"
    folder.mkdir()
    (folder / name).write_text(name)
    return folder


def test_sizes_are_read_as_people_write_them() -> None:
    sizes = (400, 65_536, 999_600, 45_000_000, 2 * 10**9, 3_240_000_000, 1_234_500_000_000)
    assert [in_words(size) for size in sizes] == ["0 kB", "66 kB", "1 MB", "45 MB", "2 GB", "3.2 GB", "1,234.5 GB"]


def test_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "one" / "inner").mkdir(parents=True)
    (tmp_path / "one" / "inner" / "file").write_bytes(b"x" * 1000)
    assert size_of(tmp_path) == size_of(tmp_path / "one" / "inner" / "file") == 1000
    (tmp_path / "two").hardlink_to(tmp_path / "one" / "inner" / "file")
    assert (size_of(tmp_path), size_of(tmp_path / "two")) == (1000, 500)
    assert size_of(tmp_path / "none") == 0


def test_what_a_link_leads_to_is_neither_measured_nor_removed(tmp_path: Path) -> None:
    kept, top = tmp_path / "kept", tmp_path / "top"
    for folder in (kept, top):
        folder.mkdir()
    (kept / "file").write_bytes(b"x" * 1000)
    for name in ("folder", "file", "nothing"):
        (top / name).symlink_to(kept / name if name != "folder" else kept)
    assert size_of(top) < 1000
    remove(top)
    (tmp_path / "link").symlink_to(kept)
    remove(tmp_path / "link")
    assert list(tmp_path.rglob("*")) == [kept, kept / "file"]


def test_what_cannot_be_removed_stays_and_the_rest_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    top = tmp_path / "top"
    for folder in ("one", "two"):
        (top / folder).mkdir(parents=True)
        (top / folder / f"{folder}.jpg").touch()
    really = os.unlink

    def unlink(name: str, *, dir_fd: int | None = None) -> None:
        if name == "one.jpg":
            raise PermissionError("refused")
        really(name, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink)
    remove(top)
    assert sorted(path.name for path in top.rglob("*")) == ["one", "one.jpg"]


def test_what_is_made_of_a_file_is_remembered_while_it_is_the_same_file(tmp_path: Path) -> None:
    read: list[str] = []

    @read_once(10)
    def content(file: Path, ending: str) -> str:
        read.append(file.read_text() + ending)
        return read[-1]

    file = tmp_path / "a.txt"
    with pytest.raises(FileNotFoundError):
        content(file, "!")
    write_atomically(file, b"one")
    assert [content(file, "!"), content(file, "!"), content(file, "?")] == ["one!", "one!", "one?"]
    write_atomically(file, b"two")
    assert content(file, "!") == "two!"
    assert read == ["one!", "one?", "two!"]


def test_the_passing_folder_of_a_process_that_was_killed_goes_when_the_next_one_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    code = f"""
import os, signal, tempfile
tempfile.tempdir = {str(tmp_path)!r}
from tl_core.disk import PassingFolder
left = PassingFolder()
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", code], timeout=PATIENCE, check=False)
    (left,) = tmp_path.iterdir()
    mine = tmp_path / "graft-of-mine"
    mine.mkdir()
    with PassingFolder() as held:
        assert left.is_dir(), "it was made just now, and its process may be about to lock it"
        for folder in (left, mine, Path(held)):
            os.utime(folder, (0, 0))
        with PassingFolder() as other:
            assert set(tmp_path.iterdir()) == {Path(held), Path(other), mine}
    assert list(tmp_path.iterdir()) == [mine]


def test_a_process_may_have_as_many_open_files_as_the_system_allows() -> None:
    kept = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, kept[1]))
        locks.allow_descriptors()
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 512
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, kept)
