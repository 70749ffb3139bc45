"""Unpacks a zip that may have been made to do harm.

Every limit is measured while the bytes are read, because the sizes that a zip declares may be false. No file is written under a
name from the zip: files on disk are numbered, and the names are kept as text.
"""

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tl_core.data.pixels import MAX_FILE_BYTES
from tl_core.data.sources import DEEPEST, SourceFile, shortened, shown
from tl_core.disk import disk_full_said, remove, unlimited
from tl_core.errors import DataError, GraftError, UnsafeArchive

MAX_FILES = 50_000
MAX_RATIO = 100
"""Largest allowed ratio of unpacked to packed bytes. Photos have about 1, drawings saved as BMP about 50, a zip bomb 1,000."""
RATIO_FROM = 20_000_000
"""Unpacked bytes up to which the ratio is not checked."""

_CHUNK = 1 << 20
_DIRECTORY_BYTES_A_FILE = 480
_ARCHIVES = re.compile(r"\.(zip|tar|tgz|gz|bz2|tbz2?|xz|txz|lzma|zst|7z|rar|jar|cab|iso)$", re.IGNORECASE)
_ARCHIVE_HEADS = (
    b"PK\x03\x04",
    b"\x1f\x8b",
    b"7z\xbc\xaf\x27\x1c",
    b"Rar!\x1a\x07",
    b"BZh",
    b"\xfd7zXZ\x00",
    b"\x28\xb5\x2f\xfd",
)
_PACKED = (".docx", ".xlsx", ".pptx", ".odt", ".ods", ".odp", ".key", ".numbers", ".pages", ".svgz")
"""Extensions of files that are zips themselves, such as office documents; one of them is no archive within the archive."""


def any_name(_: tuple[str, ...]) -> int:
    """The most bytes of a picture, whatever it is called."""
    return MAX_FILE_BYTES


def extract(
    zip_path: Path,
    into: Path,
    *,
    max_bytes: int,
    room: Callable[[int], None] = unlimited,
    most_of: Callable[[tuple[str, ...]], int] = any_name,
) -> list[SourceFile]:
    """Unpack `zip_path` into the new folder `into`, at most `max_bytes` in all; returns the files with their original names.

    `room` is asked before bytes are written, with their number, and raises a GraftError where there is no room for them. `most_of`
    gives the most bytes of a file by the parts of its name, and raises a GraftError where none may be called so. Where the zip is
    refused, `into` is removed again.

    Raises:
        UnsafeArchive: it is larger than it may be, or holds absolute or climbing paths, links or further archives.
        DataError: it is no zip, damaged, locked by a password, or packed by an unusual method.
        DiskFull: no space left.
    """
    name = shown(zip_path.name)
    into.mkdir(parents=True)
    try:
        with (
            disk_full_said(f"what is in {name}"),
            _Guarded(zip_path, _too_many(name)) as file,
            zipfile.ZipFile(file) as archive,
        ):
            file.opened = True
            return _Unpacking(name, into, zip_path.stat().st_size, max_bytes, room, most_of).run(archive)
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError) as error:
        remove(into)
        raise DataError(
            f"{name} is no zip, or a damaged one ({shown(str(error)) or 'it ends too early'}). Make it again and try once more."
        ) from error
    except BaseException:
        remove(into)
        raise


@dataclass
class _Unpacking:
    _name: str
    _into: Path
    _packed: int
    """Size of the zip, bytes."""
    _max_bytes: int
    _room: Callable[[int], None]
    _most_of: Callable[[tuple[str, ...]], int]
    _written: int = 0

    def run(self, archive: zipfile.ZipFile) -> list[SourceFile]:
        entries = archive.infolist()
        if len(entries) > MAX_FILES:
            raise _too_many(self._name)
        named = [(entry, self._checked_parts(entry)) for entry in entries]
        # Every name is checked before a byte is written.
        wanted = [(entry, parts, self._most_of(parts)) for entry, parts in named if parts and not _is_folder(entry)]
        files = []
        for number, (entry, parts, most) in enumerate(wanted):
            path = self._into / f"{number:06}"
            self._copy(archive, entry, path, parts, most)
            files.append(SourceFile(path, parts))
        return sorted(files, key=lambda file: file.parts)

    def _checked_parts(self, entry: zipfile.ZipInfo) -> tuple[str, ...]:
        raw = _original_name(entry)
        parts = [part for part in re.split(r"[/\\]", raw) if part not in ("", ".")]
        absolute = raw.startswith(("/", "\\")) or re.match(r"[A-Za-z]:[/\\]", raw) or "\0" in raw
        refusals = (
            (absolute, "an absolute path. Nothing was unpacked; zip the folder itself."),
            (".." in parts, "a path that climbs out of its folder. Nothing was unpacked; zip the folder itself."),
            (len(parts) > DEEPEST + 1, f"more than {DEEPEST} folders deep. Nothing was unpacked; use fewer folders."),
            (
                stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR),
                "a link or a device. Nothing was unpacked; zip the files, not links to them.",
            ),
        )
        for applies, why in refusals:
            if applies:
                raise UnsafeArchive(f"{self._name} holds {shortened(shown(raw))!r}, {why}")
        if entry.flag_bits & 0x1:
            raise DataError(f"{self._name} is locked by a password. Make a zip without one.")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(
                f"{self._name} is packed by a method that is not read here. Make it again as an ordinary zip."
            )
        if _ARCHIVES.search(raw) and not _is_folder(entry) and not parts[0].startswith("__MACOSX"):
            raise self._nested(tuple(parts))
        return tuple(parts)

    def _copy(
        self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, parts: tuple[str, ...], most: int
    ) -> None:
        size = 0
        with archive.open(entry) as source, path.open("wb") as target:
            while chunk := source.read(_CHUNK):
                if size == 0 and chunk.startswith(_ARCHIVE_HEADS) and not parts[-1].lower().endswith(_PACKED):
                    raise self._nested(parts)
                size += len(chunk)
                self._written += len(chunk)
                if size > most:
                    raise UnsafeArchive(
                        f"{shown(parts[-1])} in {self._name} has more than {most / 1e6:,.0f} MB. "
                        "Nothing was taken; leave it out and zip again."
                    )
                if self._written > self._max_bytes:
                    raise UnsafeArchive(
                        f"{self._name} unpacks to more than {self._max_bytes / 1e6:,.0f} MB. "
                        "Nothing was taken; use fewer or smaller files."
                    )
                if self._written > max(RATIO_FROM, MAX_RATIO * self._packed) or (
                    size > max(RATIO_FROM, MAX_RATIO * entry.compress_size)
                ):
                    raise UnsafeArchive(
                        f"{self._name} unpacks to more than {MAX_RATIO} times its size, as pictures and weights never do (a zip bomb). Nothing was taken."
                    )
                self._room(len(chunk))
                target.write(chunk)

    def _nested(self, parts: tuple[str, ...]) -> UnsafeArchive:
        return UnsafeArchive(
            f"{self._name} holds another archive, {shortened(shown(parts[-1]))!r}. Nothing was taken; "
            "unpack that one first and zip the folder."
        )


def _too_many(name: str) -> UnsafeArchive:
    return UnsafeArchive(f"{name} holds more than {MAX_FILES:,} files. Nothing was taken; use fewer pictures.")


def _original_name(entry: zipfile.ZipInfo) -> str:
    """The name of a file in the zip. macOS writes UTF-8 without setting the flag for it, and `zipfile` then decodes it as cp437."""
    if entry.flag_bits & 0x800:
        return entry.filename
    try:
        return entry.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return entry.filename


def _is_folder(entry: zipfile.ZipInfo) -> bool:
    # `entry.is_dir()` breaks on an entry without a name.
    return entry.filename.endswith("/")


class _Guarded(io.BufferedReader):
    """A zip whose central directory, which `zipfile` reads in one piece, is refused if it is too long.

    So the size that counts is the one that the parser uses, whichever of several end marks and Zip64 records it comes from.
    """

    def __init__(self, path: Path, refusal: GraftError) -> None:
        super().__init__(io.FileIO(path))
        self._refusal = refusal
        self.opened = False
        """Whether the directory was read; from then on, files are."""

    def read(self, size: int | None = -1, /) -> bytes:
        if not self.opened and size is not None and size > MAX_FILES * _DIRECTORY_BYTES_A_FILE:
            raise self._refusal
        return super().read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """As of any file; what the directory says lies before its first byte, or where no file has bytes, is a damaged zip."""
        if whence == 0 and not 0 <= offset < 1 << 63:
            raise zipfile.BadZipFile("an entry lies outside of the file")
        return super().seek(offset, whence)
