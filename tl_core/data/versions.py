"""Versions of a data set: what was read with some pictures left out or under another class.

The pictures of all versions are the same files, and what was computed from them is not computed again: a version takes its rows of pixels
and features from those of a version before it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tl_core.data.cache import Cache
from tl_core.documents.base import MANY_PROBLEMS
from tl_core.documents.manifest import Former, ImageEntry, Manifest
from tl_core.documents.remedies import Remedies
from tl_core.errors import SpecError

_COPIED_AT_ONCE = 1 << 26
"""Bytes of rows that are in memory together."""


def applied(manifest: Manifest, remedies: Remedies) -> Manifest:
    """The version of `manifest` that `remedies` make, with `manifest` as its parent. Files are named by `ImageEntry.file`.

    Pictures keep their order and their groups. A class without pictures is one no longer.

    Raises:
        SpecError: there is no such picture or class, or no picture would stay; all that is wrong is named.
    """
    _require_known(manifest, remedies)
    left_out, kept = set(remedies.leave_out), {*remedies.keep, *remedies.move}
    stays = [row for row, image in enumerate(manifest.images) if image.file not in left_out]
    name_of = [
        remedies.move.get(manifest.images[row].file, manifest.classes[manifest.images[row].label]) for row in stays
    ]
    classes = tuple(sorted(set(name_of)))
    label_of = {name: label for label, name in enumerate(classes)}
    images = [_changed(manifest.images[row], label_of[name], kept) for row, name in zip(stays, name_of, strict=True)]
    fields = {name: getattr(manifest, name) for name in Manifest.model_fields}
    return Manifest(
        **fields
        | {
            "classes": classes,
            "images": tuple(images),
            "former": tuple(_less(data, stays) for data in manifest.former),
            "parent": manifest,
            "parent_rows": tuple(stays),
        }
    )


def difference(manifest: Manifest) -> Remedies:
    """The remedies that make `manifest` from what was read; none where it is what was read."""
    *_, (read, rows) = [(manifest, tuple(range(len(manifest.images)))), *manifest.ancestors()]
    there = set(rows)
    moved, kept = {}, []
    for image, row in zip(manifest.images, rows, strict=True):
        name = manifest.classes[image.label]
        if name != read.classes[read.images[row].label]:
            moved[image.file] = name
        elif image.reviewed:
            kept.append(image.file)
    left_out = tuple(image.file for row, image in enumerate(read.images) if row not in there)
    return Remedies(leave_out=left_out, move=moved, keep=tuple(kept))


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


def _changed(image: ImageEntry, label: int, kept: set[str]) -> ImageEntry:
    reviewed = image.reviewed or image.file in kept
    if (label, reviewed) == (image.label, image.reviewed):
        return image
    return image.model_copy(update={"label": label, "reviewed": reviewed, "suspicion": None})


def _less(data: Former, stays: Sequence[int]) -> Former:
    groups = tuple(data.groups[row] for row in stays if row < len(data.groups))
    return Former(images=sum(row < data.images for row in stays), classes=data.classes, groups=groups)


def _require_known(manifest: Manifest, remedies: Remedies) -> None:
    files = {image.file for image in manifest.images}
    unknown = [file for file in (*remedies.leave_out, *remedies.move, *remedies.keep) if file not in files]
    problems = []
    if unknown:
        problems.append(f"There is no picture {_listed(unknown)} in this version of the data set.")
    classes = [name for name in dict.fromkeys(remedies.move.values()) if name not in manifest.classes]
    if classes:
        problems.append(f"There is no class {_listed(classes)}. The classes are {_listed(manifest.classes)}.")
    if files <= set(remedies.leave_out):
        problems.append("Every picture would be left out. Keep some.")
    if problems:
        raise SpecError.of(problems)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MANY_PROBLEMS
    return ", ".join(map(repr, names[:MANY_PROBLEMS])) + (f" and {more:,} more" if more > 0 else "")
