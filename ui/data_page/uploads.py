"""Writes uploads to disk: a zip, a folder, or photos class by class.

Names come unchecked from a browser: only what `component` returns becomes part of a path, and reading the data set checks all of it
again.
"""

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from tl_core import settings
from tl_core.data.archive import MAX_FILES
from tl_core.data.given_groups import NAME
from tl_core.data.sources import DEEPEST, LONGEST_COMPONENT, component
from tl_core.disk import BLOCK, disk_full_said, remove, size_of
from tl_core.errors import DataError, LayoutError
from tl_core.runs.store.budgets import room_for
from tl_core.runs.store.store import Workspace

_NAMES = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR)
_LONGEST_CLASS = 200
"""Characters of the name of a class; those of data sets have fewer."""
_SUFFIX = re.compile(r"\.[A-Za-z0-9]{1,5}$")


class Upload(Protocol):
    """What the page uses of Streamlit's UploadedFile."""

    name: str
    size: int

    def seek(self, offset: int, /) -> int: ...


def class_component(name: str) -> str:
    """The name of the folder for photos of the class `name`. Raises LayoutError where that can be no class."""
    if len(name) > _LONGEST_CLASS:
        raise LayoutError(
            f"The name of a class has at most {_LONGEST_CLASS} characters; this one has {len(name):,}. Type a shorter one."
        )
    safe = component(name)
    if safe is None:
        raise LayoutError("A class needs a name: type what is on these photos, for example cup.")
    return safe


def save_zip(upload: Upload, staging: Path) -> Path:
    """Copy an uploaded zip to `staging`, under its own name, which messages about it say, and return its path.

    Raises:
        DataError: it is too large.
        OverBudget, DiskFull: the workspace or the disk has no room for it.
    """
    target = staging / (component(upload.name) or "upload.zip")
    with _storing([upload], staging), target.open("xb") as file:
        _copy(upload, file)
    return target


def save_groups(upload: Upload, staging: Path) -> Path:
    """Copy an uploaded CSV of groups to `staging`, beside the pictures, and return its path.

    Raises:
        DataError: it is too large.
        OverBudget, DiskFull: the workspace or the disk has no room for it.
    """
    # No upload has a name that begins with a dot.
    target = staging / ".groups" / (component(upload.name) or NAME)
    with _storing([upload], staging, folders=1):
        target.parent.mkdir()
        with target.open("xb") as file:
            _copy(upload, file)
    return target


def save_tree(uploads: Sequence[Upload], staging: Path) -> Path:
    """Copy an uploaded folder with its inner folders to `staging` and return its path.

    Raises:
        LayoutError: folders lie too deep inside one another.
        DataError: it is too large, has too many files, or its names cannot be kept.
        OverBudget, DiskFull: the workspace or the disk has no room for it.
    """
    root = staging / "folder"
    targets, folders = _targets(uploads, root)
    with _storing(uploads, staging, folders=folders):
        root.mkdir()
        for number, (upload, target) in enumerate(zip(uploads, targets, strict=True)):
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                target = target.with_name(f"{number}-{target.name}"[:LONGEST_COMPONENT])
            with target.open("xb") as file:
                _copy(upload, file)
    return root


def _targets(uploads: Sequence[Upload], root: Path) -> tuple[list[Path], int]:
    """Where below `root` each file of an uploaded folder goes, and how many folders that takes.

    Raises:
        LayoutError: folders lie too deep inside one another.
        DataError: there are too many files and folders.
    """
    targets: list[Path] = []
    folders = {root}
    for number, upload in enumerate(uploads):
        parts = [part for part in re.split(r"[/\\]", upload.name) if part not in ("", ".", "..")]
        *above, last = parts or ["nameless"]
        if len(above) > DEEPEST:
            raise LayoutError(
                f"In this upload, folders lie {len(above):,} deep inside one another; {DEEPEST} are read. Nothing was kept. Choose a "
                "folder whose pictures lie less deep."
            )
        folder = root.joinpath(*filter(None, (component(part, keep_dots=True) for part in above)))
        targets.append(folder / (component(last, keep_dots=True) or f"{number}"))
        while folder not in folders:
            folders.add(folder)
            folder = folder.parent
        if len(uploads) + len(folders) > MAX_FILES:
            raise DataError(
                f"This upload has more than {MAX_FILES:,} files and folders. Nothing was kept. Choose fewer pictures."
            )
    return targets, len(folders)


def tree_name(uploads: Sequence[Upload]) -> str:
    """The name of an uploaded folder, for display."""
    first = re.split(r"[/\\]", uploads[0].name) if uploads else []
    return first[0] if len(first) > 1 and first[0] not in ("", ".", "..") else "My pictures"


class Draft:
    """A data set that is put together class by class; photos wait on disk until their class has a name."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.waiting_folder = folder / "waiting"
        self.root = folder / "classes"

    def add(self, uploads: Sequence[Upload], name: str | None = None) -> None:
        """Keep photos of the class `name`, or of the one that is named next: all of them, or none if that fails.

        Raises:
            LayoutError: the name is not usable.
            DataError: the data set grows too large.
            OverBudget, DiskFull: the workspace or the disk has no room for them.
        """
        folder = self.waiting_folder if name is None else self._class_folder(name)
        self.touch()
        with _storing(uploads, self.folder, already=size_of(self.folder)), ExitStack() as undo:
            folder.mkdir(parents=True, exist_ok=True)
            undo.callback(_remove_empty, folder)
            for number, upload in enumerate(uploads, sum(1 for _ in folder.iterdir())):
                suffix = _SUFFIX.search(upload.name)
                path = folder / f"{number:05}{suffix.group().lower() if suffix else '.jpg'}"
                with path.open("xb") as file:
                    undo.callback(path.unlink)
                    _copy(upload, file)
            undo.pop_all()

    def waiting(self) -> list[Path]:
        """Photos that have no class yet."""
        return sorted(self.waiting_folder.iterdir()) if self.waiting_folder.is_dir() else []

    def close_class(self, name: str) -> None:
        """Move the waiting photos into the class `name`.

        Raises:
            LayoutError: the name is not usable.
        """
        folder = self._class_folder(name)
        self.touch()
        folder.mkdir(parents=True, exist_ok=True)
        start = sum(1 for _ in folder.iterdir())
        for number, path in enumerate(self.waiting(), start):
            path.rename(folder / f"{number:05}{path.suffix}")

    def classes(self) -> dict[str, list[Path]]:
        """Photos of each class so far, by name."""
        if not self.root.is_dir():
            return {}
        return {folder.name: sorted(folder.iterdir()) for folder in sorted(self.root.iterdir())}

    def drop(self, name: str) -> None:
        """Delete a class and its photos."""
        if name in self.classes():
            self.touch()
            remove(self.root / name)

    def touch(self) -> None:
        """Note that somebody is at work on it: a draft that nobody touched for a day is removed."""
        with suppress(FileNotFoundError):
            os.utime(self.folder)

    def _class_folder(self, name: str) -> Path:
        return self.root / class_component(name)


@contextmanager
def _storing(uploads: Sequence[Upload], staging: Path, *, already: int = 0, folders: int = 0) -> Iterator[None]:
    """The block copies `uploads` into the folder `staging` of a workspace, which holds `already` bytes, once they fit, and makes
    `folders` in it.
    """
    size, limit = sum(upload.size for upload in uploads), settings.current().max_upload_bytes
    if already + size > limit:
        raise DataError(
            f"These files are {(already + size) / 1e6:,.0f} MB; one upload takes {limit / 1e6:,.0f} MB. Choose fewer pictures, or "
            "smaller ones: 1,000 pixels on the longest side are enough."
        )
    try:
        taken = BLOCK * folders + sum(max(upload.size, BLOCK) for upload in uploads)
        with room_for(Workspace(staging.parents[1]), taken), disk_full_said("this upload"):
            yield
    except OSError as error:
        if error.errno not in _NAMES:
            raise
        # Names are the browser's: too long together, or one file called like a folder.
        raise DataError(
            f"This upload could not be kept ({error.strerror}). Rename what has an unusual name, or bring a zip of the folder."
        ) from error


def _copy(upload: Upload, file: BinaryIO) -> None:
    upload.seek(0)
    shutil.copyfileobj(cast(BinaryIO, upload), file, 1 << 20)


def _remove_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()
