"""Unpacks the zip of a bundle, trusting nothing that it says. Knows the names that a bundle may hold, not their content."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from tl_core.data.cache import disk_full_said
from tl_core.errors import BundleError

INFO = "bundle.json"
ONNX = "model.onnx"
TENSORS = "model.safetensors"
MODEL_CARD = "MODEL_CARD.md"

MAX_BYTES = {INFO: 4_000_000, MODEL_CARD: 4_000_000, ONNX: 2_000_000_000, TENSORS: 2_000_000_000}
"""Unpacked; an ONNX file is one protobuf message, which ends at 2 GiB."""
MAX_ENTRIES = 100
MAX_RATIO = 200
"""Unpacked to packed, above the first megabytes. Trained weights hardly shrink; zeros shrink a thousandfold."""
_FREE_OF_RATIO = 4_000_000
_CHUNK = 1 << 20


def unpack(path: Path, into: Path) -> None:
    """Unpack the bundle zip at `path` to the existing folder `into`; only the four known names, measured while writing.

    One wrapping folder and what macOS adds are passed over.

    Raises:
        BundleError: it holds anything else, is damaged, or unpacks to too much.
        DiskFull: no space is left.
    """
    with _damage_said(path), zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if len(entries) > MAX_ENTRIES:
            raise BundleError(f"{path.name} holds {len(entries)} entries; a bundle holds four. It was not unpacked.")
        seen: set[str] = set()
        for entry in entries:
            name = _name(entry)
            if name is None:
                continue
            if name in seen:
                raise BundleError(f"{path.name} holds {name} twice. It was not unpacked.")
            seen.add(name)
        with disk_full_said("the unpacked bundle"):
            for entry in entries:
                name = _name(entry)
                if name is not None:
                    _write(archive, entry, into / name, MAX_BYTES[name])


def _name(entry: zipfile.ZipInfo) -> str | None:
    """The known name of an entry; None for what is passed over."""
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
    if path.name not in MAX_BYTES or len(path.parts) > 2:
        raise BundleError(f"The zip holds {shown!r}, which has no place in a bundle. It was not unpacked.")
    return path.name


def _write(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, largest: int) -> None:
    written = 0
    with archive.open(entry) as source, target.open("xb") as file:
        while chunk := source.read(_CHUNK):
            written += len(chunk)
            if written > largest:
                raise BundleError(f"{target.name} unpacks to more than {largest // 1_000_000} MB; it was not used.")
            if written > _FREE_OF_RATIO and written > MAX_RATIO * max(entry.compress_size, 1):
                raise BundleError(f"{target.name} unpacks to far more than it can hold (a zip bomb); it was not used.")
            file.write(chunk)


@contextmanager
def _damage_said(path: Path) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise BundleError(f"{path.name} is damaged and cannot be unpacked. Export it again.") from error
    except zipfile.zlib.error as error:  # type: ignore[attr-defined]
        raise BundleError(f"{path.name} is damaged and cannot be unpacked. Export it again.") from error
