"""What is replaced on the disk: nothing of another kind is deleted for it, and no reader finds half of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tl_core.disk import appearing, in_words, size_of, write_atomically


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
    really = shutil.rmtree

    def remove(path: Path, **options: bool) -> None:
        seen.append([file.name for file in folder.iterdir()])
        really(path, **options)

    monkeypatch.setattr(shutil, "rmtree", remove)
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
