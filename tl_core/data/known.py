"""Finds pictures that another data set holds already, by the hash of their bytes, so that they need not be decoded and written
again.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from tl_core.data.measures import MEASURES
from tl_core.disk import modified
from tl_core.documents.manifest import COPIES, ImageEntry, Manifest
from tl_core.errors import DocumentError, NotFound

MOST = 100_000
"""How many pictures are remembered, beginning with the newest data sets: reading manifests takes time and memory."""


class KnownPicture(NamedTuple):
    """One picture of a finished data set."""

    folder: Path
    """The folder of that data set."""
    image: ImageEntry


def known_pictures(folders: Iterable[Path]) -> dict[str, KnownPicture]:
    """The pictures of the data sets in `folders`, by the hash of their original bytes; of two pictures with one hash, that of the newer data set.

    Left out are data sets that are still being read or whose copies were made by an older version, and pictures that lack a number
    which is measured today.
    """
    manifests = sorted(
        (modified(path), path, folder)
        for folder in folders
        for path in (folder / "manifest.json", *(folder / "versions").glob("*-manifest.json"))
    )
    pictures: dict[str, KnownPicture] = {}
    for _, path, folder in reversed(manifests):
        if len(pictures) >= MOST:
            break
        with suppress(DocumentError, NotFound, OSError):
            manifest = Manifest.read(path)
            for image in manifest.images if manifest.copies == COPIES else ():
                if MEASURES.keys() <= image.measured.keys():
                    pictures.setdefault(image.sha256, KnownPicture(folder, image))
    return pictures


def take_over(known: KnownPicture, into: Path, stem: str, *, room: Callable[[int], None]) -> str | None:
    """Put the copy and the thumbnail of `known` into the data set folder `into`; returns the name of the new file.

    Returns None where they were deleted or damaged since. The new files are hard links where the file system has them, which
    is safe because a copy is never written to; deleting one data set leaves the files of the other. Elsewhere they are copies, and
    `room` is asked before each is written, with its bytes.

    Raises:
        GraftError: there is no room.
        OSError: no space is left.
    """
    old = known.folder / "images" / known.image.file
    new = into / "images" / f"{stem}{old.suffix}"
    thumbnail = known.folder / "thumbnails" / f"{old.stem}.jpg"
    try:
        content = old.read_bytes()
        if zlib.crc32(content) != known.image.crc32:
            return None
        small = thumbnail.read_bytes()
    except OSError:
        return None
    if not small.endswith(b"\xff\xd9"):  # the end of a whole JPEG
        return None
    _place(old, new, content, room)
    _place(thumbnail, into / "thumbnails" / f"{stem}.jpg", small, room)
    return new.name


def _place(old: Path, new: Path, content: bytes, room: Callable[[int], None]) -> None:
    try:
        os.link(old, new)
    except OSError:
        # Another file system, one without links, or a file with too many of them.
        room(len(content))
        new.write_bytes(content)
