"""The pictures of a data set as one array for a network, decoded once and kept in the cache, and rows of arrays for its versions.

The copies that a data set keeps were written by Graft itself, so they are decoded in the process that needs them.
"""

import hashlib
import zlib
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tl_core.data.cache import Cache, holds_array
from tl_core.data.pace import Pace, in_order
from tl_core.data.pixels import read_bytes, read_input
from tl_core.disk import allocate
from tl_core.documents.events import Event
from tl_core.documents.manifest import ImageEntry, Manifest
from tl_core.errors import DataError, UnreadableImage

_COPIED_AT_ONCE = 1 << 26
"""Bytes of rows that are in memory together."""
PIXELS_VERSION = 1
"""Part of the cache keys of pixels: raise it when the same bytes would give other pixels."""


def read_copy(
    dataset: Path, image: ImageEntry, size: int, interpolation: str, *, checked: bool = False
) -> NDArray[np.uint8]:
    """`read_input` of the copy of `image` in the folder `dataset`; `checked`: its checksum must be that of the entry.

    Raises:
        DataError: the copy is missing or damaged.
    """
    damaged = DataError(
        f"The copy of {image.name} in this data set is missing or damaged. Add the pictures again as a new data set."
    )
    try:
        content = read_bytes(dataset / "images" / image.file)
        if checked and zlib.crc32(content) != image.crc32:
            raise damaged
        return read_input(content, size, interpolation)
    except (UnreadableImage, OSError) as error:
        raise damaged from error


def load_pixels(
    dataset: Path, manifest: Manifest, *, size: int, interpolation: str, cache: Cache
) -> Generator[Event, None, NDArray[np.uint8]]:
    """Every picture of a data set as one read-only memory map, uint8 (N, size, size, 3), in the order of the manifest.

    Filled on all cores the first time, from `dataset`/images; found in the cache by content afterwards, also for another data
    set with the same pictures. A version of a data set takes its rows from the array of a version before it, where the cache has one.

    Raises:
        DataError: a copy in the data set is missing or damaged.
        OverBudget: the array is larger than the cache may be.
        DiskFull: there is no space for the array.
    """
    key = pixels_key(manifest, size=size, interpolation=interpolation)
    whole = holds_array(np.uint8, len(manifest.images), size, size, 3)
    with cache.entry("pixels", key, whole=whole, needed=len(manifest.images) * size * size * 3) as entry:
        path = entry.path
        if path is None:
            before = earlier(manifest, partial(pixels_key, size=size, interpolation=interpolation))
            if not take_rows(cache, "pixels", before, entry.temporary, np.uint8):
                yield from _fill(dataset, manifest, size, interpolation, entry.temporary)
            path = entry.commit()
    loaded: NDArray[np.uint8] = np.load(path, mmap_mode="r")
    return loaded


def origin(manifest: Manifest) -> str:
    """The part before the first hyphen of every cache key under which something computed from these pictures is kept."""
    return manifest.content[:16]


def pixels_key(manifest: Manifest, *, size: int, interpolation: str) -> str:
    """Cache key of the array of `load_pixels`: a hash of the images in their order, `Manifest.copies`, size and interpolation.

    It begins with `origin`, as do the keys of all that is computed from the array.
    """
    made = f"{PIXELS_VERSION} {manifest.copies} {size} {interpolation} {manifest.content}"
    return f"{origin(manifest)}-{hashlib.sha256(made.encode()).hexdigest()[:40]}"


class Earlier(NamedTuple):
    """An entry of the cache that was computed from a version before, and the rows of this version in it."""

    key: str
    images: int
    """Number of its rows."""
    rows: NDArray[np.intp]


def earlier(manifest: Manifest, key_of: Callable[[Manifest], str]) -> list[Earlier]:
    """Where the cache may have the rows of `manifest`: the entries of the versions before, the latest first.

    `key_of` gives the cache key of a manifest.
    """
    return [
        Earlier(key_of(before), len(before.images), np.array(rows, dtype=np.intp))
        for before, rows in manifest.ancestors()
    ]


def take_rows(cache: Cache, kind: str, sources: Sequence[Earlier], into: Path, dtype: type[np.generic]) -> bool:
    """Write into the new .npy file `into` the rows of the first of `sources` that the cache has whole; whether it has any."""
    for source in sources:
        path = cache.get(kind, source.key)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False) if path else None
        except (OSError, ValueError, EOFError, SyntaxError):
            continue
        if array is None or array.dtype != dtype or len(array) != source.images:
            continue
        shape = (len(source.rows), *array.shape[1:])
        taken = np.lib.format.open_memmap(into, mode="w+", dtype=dtype, shape=shape)
        step = max(1, _COPIED_AT_ONCE // max(1, array[:1].nbytes))
        for first in range(0, len(source.rows), step):
            taken[first : first + step] = array[source.rows[first : first + step]]
        taken.flush()
        return True
    return False


def _fill(dataset: Path, manifest: Manifest, size: int, interpolation: str, path: Path) -> Generator[Event, None, None]:
    shape = (len(manifest.images), size, size, 3)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    allocate(path, path.stat().st_size)

    def fill(row: int) -> None:
        array[row] = read_copy(dataset, manifest.images[row], size, interpolation, checked=manifest.copies > 0)

    pace = Pace("preparing", shape[0])
    with closing(in_order(fill, shape[0])) as filled:
        for done, _ in enumerate(filled, start=1):
            yield from pace.at(done)
    array.flush()
