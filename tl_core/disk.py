"""Writing a file or folder whole or not at all, removing one at once, sizes, free space, and the error for a full disk."""

import errno
import os
import secrets
import shutil
import tempfile
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar, cast

from tl_core import locks
from tl_core.errors import DiskFull

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
OfFile: TypeAlias = Callable[Concatenate[Path, Arguments], Result]

_LARGEST_FLOOR = 20
"""What has to stay free is at most this part of a disk, so that a small one can be used, too."""
BLOCK = 4_096
"""Bytes that a file or folder takes of most disks at least, however little is in it."""
_FRESH = 60.0
"""Seconds for which a folder may be there without its lock."""


@contextmanager
def disk_full_said(where: str) -> Iterator[None]:
    """Raise a `DiskFull` that names `where` for the operating system's "no space left"."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull(
                f"The disk is full: no space is left for {where}. Free some space and start again."
            ) from error
        raise


@contextmanager
def appearing(path: Path, what: str) -> Iterator[Path]:
    """A temporary name beside `path` for the file or folder that is `what`; it becomes `path` by one rename when the block ends.

    So no reader sees half of it, nor half of what it replaces: a file replaces a file, and a folder a folder. What is left
    after an error is removed.

    Raises:
        DiskFull: no space is left.
        OSError: a file would replace a folder, or a folder a file.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    replaced = temporary.with_name(f"{temporary.name}.old")
    try:
        with disk_full_said(what):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            if temporary.is_dir() and path.is_dir():
                path.rename(replaced)
            try:
                temporary.replace(path)
            except OSError:
                if replaced.exists():
                    replaced.rename(path)
                raise
    finally:
        remove(temporary)
        remove(replaced)


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` beside `path` and rename it into place.

    Raises:
        DiskFull: no space is left.
    """
    with appearing(path, path.name) as temporary:
        temporary.write_bytes(content)


def read_once(most: int) -> Callable[[OfFile[Arguments, Result]], OfFile[Arguments, Result]]:
    """A decorator for a function of a file: its last `most` results, each as long as the file is the same (time of change and inode).

    Pages ask at every rerun, and most files are replaced and never changed. What the function raises, or gives where there is no file,
    is not remembered.
    """

    def decorate(function: Callable[..., Result]) -> OfFile[Arguments, Result]:
        @lru_cache(maxsize=most)
        def result(moment: int, inode: int, file: Path, *rest: Any) -> Result:
            return function(file, *rest)

        def look(file: Path, *rest: Any) -> Result:
            try:
                status = file.stat()
            except (FileNotFoundError, NotADirectoryError):
                return function(file, *rest)
            return result(status.st_mtime_ns, status.st_ino, file, *rest)

        return cast(OfFile[Arguments, Result], look)

    return decorate


def copy_or_link(file: Path, to: Path) -> None:
    """Give `file`, which nobody writes to any more, the second name `to`; a copy of it where the file system has no second names.

    Raises:
        OSError: `file` is gone, `to` is there already, or no space is left.
    """
    try:
        os.link(file, to)
    except FileExistsError:
        raise
    except OSError:
        shutil.copyfile(file, to)


class PassingFolder(tempfile.TemporaryDirectory[str]):
    """A folder below the system's temporary one for as long as this object lives. Those of processes that were killed go when the next one is made."""

    def __init__(self) -> None:
        clear_unheld(Path(tempfile.gettempdir()), "graft-passing-*")
        super().__init__(prefix="graft-passing-", ignore_cleanup_errors=True)
        weakref.finalize(self, locks.release, filter(None, [locks.take(Path(self.name))]))


def clear_unheld(folder: Path, names: str) -> None:
    """Remove from `folder` the folders called like `names` (a glob) that no process has locked: killed ones left them."""
    for path in folder.glob(names):
        # Those of other users cannot be opened.
        with suppress(OSError):
            # One that was made just now may not be locked yet.
            if time.time() - modified(path) > _FRESH and not locks.held(path):
                remove(path)


def allocate(path: Path, size: int) -> None:
    """Reserve `size` bytes on the disk for the file at `path`.

    Writing to a memory map on a full disk kills the process; this fails before, with an error that can be caught.

    Raises:
        OSError: no space left (ENOSPC).
    """
    if size == 0:
        return
    with path.open("r+b") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        elif shutil.disk_usage(path.parent).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def spare(folder: Path, floor: int) -> int:
    """Bytes that may still be written to the disk of `folder`, which need not exist yet, until only `floor` bytes are free.

    It is negative where fewer are free. On a small disk the floor is a twentieth of it.
    """
    usage = shutil.disk_usage(_nearest(folder))
    return usage.free - min(floor, usage.total // _LARGEST_FLOOR)


def _nearest(folder: Path) -> Path:
    return next(place for place in (folder, *folder.absolute().parents) if place.exists())


def require_spare(folder: Path, floor: int, needed: int, what: str) -> None:
    """Check that the disk of `folder` has room for `needed` bytes of `what` beside `floor` bytes that stay free.

    Where the file system has a number of files that it can hold, as many files have to stay free as small ones fit into `floor`, at
    most a twentieth of that number.

    Raises:
        DiskFull: it has not.
    """
    left = spare(folder, floor)
    if left < needed:
        size = f", and this takes {in_words(needed)}" if needed else ""
        raise DiskFull(
            f"The disk is full: {in_words(max(0, left))} are left for {what}{size}. Some space always stays free "
            "(GRAFT_FREE_GB). Free some space, for example delete data sets and runs that nobody needs, and start again."
        )
    system = os.statvfs(_nearest(folder))
    reserve = min(floor // BLOCK, system.f_files // _LARGEST_FLOOR)
    # Some file systems have no such number and give 0.
    if system.f_files and system.f_favail < reserve:
        raise DiskFull(
            f"The disk is full of files: room for {system.f_favail:,} more is left, and for {reserve:,} has to stay free (GRAFT_FREE_GB), "
            f"so there is none for {what}. Delete data sets and runs that nobody needs, and start again."
        )


def unlimited(size: int) -> None:
    """A limit that is never reached: what asks for room to write `size` bytes may write them."""


def size_of(path: Path, *, least: int = 0) -> int:
    """Bytes of the file or folder at `path`. A file with several names (hard links) counts in equal parts under each of them.

    Each file counts with at least `least` bytes, and each inner folder with as many. Links are not followed; what goes away meanwhile or may
    not be read counts nothing.
    """
    if not path.is_dir() or path.is_symlink():
        return _share(path, least)
    total = 0
    for folder, folders, files in os.walk(path):
        total += least * len(folders) + sum(_share(f"{folder}/{name}", least) for name in files)
    return total


def _share(file: Path | str, least: int) -> int:
    try:
        status = os.lstat(file)
    except OSError:
        return 0
    return max(status.st_size, least) // max(1, status.st_nlink)


def in_words(size: int) -> str:
    """`size` bytes as people read them: `3.2 GB`, `45 MB`."""
    unit, name = next((row for row in ((1e9, "GB"), (1e6, "MB")) if size >= 0.9995 * row[0]), (1e3, "kB"))
    return f"{round(size / unit, 1 if name == 'GB' else None):,g} {name}"


def modified(path: Path) -> float:
    """When the file or folder at `path` was changed last, seconds since the epoch; 0 where there is none."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def vanish(path: Path, gone: Path) -> None:
    """Remove the file or folder at `path`, if there is one, under the name `gone`, so that no reader finds half of it."""
    try:
        path.rename(gone)
    except FileNotFoundError:
        return
    remove(gone)


def remove(path: Path) -> None:
    """Remove the file or folder at `path`, if there is one. What cannot be removed from a folder stays."""
    if not path.is_dir() or path.is_symlink():
        path.unlink(missing_ok=True)
    else:
        shutil.rmtree(path, ignore_errors=True)
