"""Unpacks the zip of a bundle. The zip may come from a stranger, so names and sizes are checked; the content is not read."""

from __future__ import annotations

import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tl_core.data.archive import opened
from tl_core.disk import disk_full_said
from tl_core.errors import BundleError
from tl_core.serving.bundle_files import BUNDLE_FILES

MAX_ENTRIES = 100
MAX_RATIO = 20
"""The largest ratio of unpacked to packed bytes. Trained weights hardly shrink; zeros shrink a thousandfold."""
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Ways to pack that are read. The others unpack more at once than is asked for."""
_FREE_OF_RATIO = 4_000_000
"""Unpacked bytes of a file up to which the ratio does not matter."""
_CHUNK = 1 << 20


def unpack(path: Path, into: Path) -> None:
    """Unpack the bundle zip at `path` to the existing folder `into`.

    Only files of `BUNDLE_FILES` are written, each up to its largest size, counted while it is written. One folder around
    them is dropped, and so are the files that macOS adds.

    Raises:
        BundleError: it holds anything else, is damaged, or unpacks to too much.
        DiskFull: no space is left.
    """
    try:
        too_many = BundleError(
            f"{path.name} lists far more files than the {len(BUNDLE_FILES)} of a bundle. It was not unpacked."
        )
        with opened(path, most_files=MAX_ENTRIES, refusal=too_many) as archive, disk_full_said("the unpacked bundle"):
            for name, entry in _named(path, archive).items():
                _write(archive, entry, into / name, BUNDLE_FILES[name].most_bytes)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise BundleError(f"{path.name} is damaged and cannot be unpacked. Export it again.") from error


def _named(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The entries of the bundle's files by their names."""
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise BundleError(
            f"{path.name} holds {len(entries)} entries; a bundle holds {len(BUNDLE_FILES)} files. It was not unpacked."
        )
    named: dict[str, zipfile.ZipInfo] = {}
    for entry in entries:
        name = _name(entry)
        if name in named:
            raise BundleError(f"{path.name} holds {name} twice. It was not unpacked.")
        if name is not None:
            named[name] = entry
    return named


def _name(entry: zipfile.ZipInfo) -> str | None:
    """The name of the bundle's file in an entry; None for a folder and for what macOS adds."""
    shown = entry.filename[:80]
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in (path.parts[0] if path.parts else ""):
        raise BundleError(f"The zip holds {shown!r}, a path that leads out of its folder. It was not unpacked.")
    if stat.S_ISLNK(entry.external_attr >> 16):
        raise BundleError(f"The zip holds {shown!r}, a link. It was not unpacked.")
    if entry.is_dir() or "__MACOSX" in path.parts or path.name == ".DS_Store":
        return None
    if entry.flag_bits & 1:
        raise BundleError("The zip is locked by a password. Unpack it and name the folder.")
    if entry.compress_type not in _METHODS:
        raise BundleError(f"The zip holds {shown!r}, packed by an unusual method. Unpack it and name the folder.")
    if path.name not in BUNDLE_FILES or len(path.parts) > 2:
        raise BundleError(f"The zip holds {shown!r}, which has no place in a bundle. It was not unpacked.")
    return path.name


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, largest: int) -> None:
    written = 0
    with archive.open(entry) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > largest:
                raise BundleError(f"{target.name} unpacks to more than {largest:,} bytes; it was not used.")
            if written > _FREE_OF_RATIO and written > MAX_RATIO * max(entry.compress_size, 1):
                raise BundleError(f"{target.name} unpacks to far more than it can hold (a zip bomb); it was not used.")
            file.write(chunk)
