"""Reads a folder, a zip or a sample into a data set, or onto one of its versions: normalised copies, thumbnails and a manifest.

Pictures that another data set of the workspace holds already are taken over from there. The others come from strangers, so child
processes decode them (`tl_core.data.guarded`); this one reads and writes the files.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import time
import zlib
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

from tl_core import settings
from tl_core.data import archive, class_folders, given_groups, guarded, sources
from tl_core.data.class_folders import Item, Layout
from tl_core.data.pace import Pace, in_order
from tl_core.data.pixels import read_bytes
from tl_core.data.reading import Copy
from tl_core.data.sources import SourceFile, component, shown
from tl_core.data.split import Joined
from tl_core.disk import disk_full_said, modified, remove, unlimited
from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.documents.manifest import COPIES, ImageEntry, Manifest, Refusal, Split
from tl_core.documents.spec import IngestSpec
from tl_core.errors import DocumentError, LayoutError, NotFound, UnreadableImage

MOST_KNOWN = 100_000
"""Pictures of other data sets that are remembered, beginning with the newest ones: reading manifests takes time and memory."""
UNPACKED_FOR_PACKED = 4
"""How many times the size of the largest upload a zip may unpack to."""


def ingest(
    spec: IngestSpec,
    into: Path,
    *,
    staging: Path,
    known: Iterable[Path] = (),
    onto: Manifest | None = None,
    first: str = "",
    room: Callable[[int], None] = unlimited,
    complete: Callable[[Manifest], Generator[Event, None, Manifest]] | None = None,
) -> Generator[Event, None, Manifest]:
    """Read what `spec` names and write `into`/images, `into`/thumbnails and, last, `into`/manifest.json.

    `staging` is a folder for what has to be unpacked or downloaded first, and is removed from it again. `known` are folders of
    data sets, whose copies of the same files are taken over. `onto` is the version of the data set `into` that the pictures are added to: its
    images come first in the manifest, which is only returned. The names of new files begin with `first`. A picture that cannot be used
    becomes a `Refusal` and does not stop the others. `room` is asked before bytes are written, with their number; it raises a GraftError
    where there is no room. `complete` adds to the manifest what is found in the copies, which are written by then.

    Raises:
        NotFound: there is no such folder or zip.
        LayoutError: there are no pictures in class folders, none can be read, or all are in `onto`, or were left out of it, already.
        UnsafeArchive, DataError: the zip is refused, or the CSV of groups.
        UnknownName, DownloadFailed: there is no such sample, or it could not be downloaded.
        DiskFull: no space is left.
    """
    with disk_full_said("this data set"):
        for folder in ("images", "thumbnails"):
            (into / folder).mkdir(parents=True, exist_ok=True)
        keep = _Writer(into, _known_pictures(known), first=first, room=room)
        manifest = yield from read(spec, staging=staging, keep=keep, onto=onto)
        if complete:
            manifest = yield from complete(manifest)
        if onto is None:
            manifest.write(into / "manifest.json")
    return manifest


def read(
    spec: IngestSpec, *, staging: Path, keep: _Writer | None = None, onto: Manifest | None = None
) -> Generator[Event, None, Manifest]:
    """Read what `spec` names and return its manifest. `keep` writes copies and thumbnails; without it nothing is kept. `onto`: as in
    `ingest`.

    Raises:
        GraftError: as `ingest`.
    """
    place = staging / "unpacked"
    try:
        found = yield from source_files(spec, place, keep.room if keep else unlimited)
        placed = class_folders.find(found.files, spec.classes_from, into=onto)
        if onto:
            placed = _joined(placed, onto)
        placed = yield from _with_groups(spec, placed, found.files)
        yield StageStarted(stage="reading", title="Reading pictures")
        readings = yield from _read_all(placed, keep)
        return _manifest(spec, placed, readings, found, keep, onto)
    finally:
        remove(place)


def _joined(placed: Layout, onto: Manifest) -> Layout:
    """`placed` with the classes of `onto` as well; a folder whose name stands for one that can be no folder's, such as "a/b", adds to that."""
    named = {component(name): name for name in onto.classes} | {name: name for name in onto.classes}
    items = [dataclasses.replace(item, class_name=named.get(item.class_name, item.class_name)) for item in placed.items]
    classes = {*onto.classes, *(item.class_name for item in items)}
    return dataclasses.replace(placed, items=tuple(items), classes=tuple(sorted(classes)))


def _with_groups(spec: IngestSpec, placed: Layout, files: Sequence[SourceFile]) -> Generator[Event, None, Layout]:
    """`placed` with the groups of the CSV that `spec` names or that lies beside the pictures, where there is one."""
    file = Path(spec.groups_file) if spec.groups_file else given_groups.beside_pictures(files, placed.items)
    if file is None:
        return placed
    given = given_groups.given_groups(file)
    items, strange = given_groups.placed_in_groups(placed.items, given)
    grouped = sum(item.group is not None for item in items)
    yield Notice(
        message=f"{given.name} gives {grouped:,} of {len(items):,} pictures a group"
        + (f"; {strange:,} of its lines name none that is here." if strange else ".")
    )
    return dataclasses.replace(placed, items=items)


class _Writer:
    """Writes the copy and the thumbnail of one picture; called from several threads at once."""

    def __init__(self, into: Path, known: Mapping[str, _Known], *, first: str, room: Callable[[int], None]) -> None:
        self._into = into
        self._known = known
        self._first = first
        """What the names of files begin with."""
        self.room = room

    def taken_over(self, row: int, sha256: str) -> ImageEntry | None:
        """The entry of the picture with that hash, copied from another data set; None where none has it."""
        known = self._known.get(sha256)
        file = _take_over(known, self._into, self._stem(row), room=self.room) if known else None
        return known.image.model_copy(update={"file": file}) if known and file else None

    def write(self, row: int, made: Copy) -> str:
        """Write the copy and the thumbnail; returns the generated file name."""
        stem = self._stem(row)
        file = f"{stem}{made.extension}"
        for path, content in (
            (self._into / "images" / file, made.content),
            (self._into / "thumbnails" / f"{stem}.jpg", made.thumbnail),
        ):
            self.room(len(content))
            path.write_bytes(content)
        return file

    def _stem(self, row: int) -> str:
        return f"{self._first}{row:06}"

    def remove(self, file: str) -> None:
        (self._into / "images" / file).unlink()
        (self._into / "thumbnails" / file).with_suffix(".jpg").unlink()


class FilesFound(NamedTuple):
    """The files of a source; the other fields are those of the manifest."""

    files: list[SourceFile]
    source: str
    licence: str | None = None
    note: str | None = None


def source_files(
    spec: IngestSpec, place: Path, room: Callable[[int], None] = unlimited
) -> Generator[Event, None, FilesFound]:
    """List what `spec` names. A zip or a sample is unpacked into the new folder `place`; `room` is asked before its bytes are written.

    Raises:
        GraftError: as `ingest`, for what concerns the source.
    """
    if spec.source_kind == "sample":
        from tl_core.data import samples

        sample = yield from samples.write_sample(spec.source, place, room=room)
        return FilesFound(sources.walk(place), f"sample:{spec.source}", sample.licence, sample.note)
    path = Path(spec.source)
    if spec.source_kind == "folder":
        if not path.is_dir():
            raise NotFound(f"There is no folder {shown(str(path))}.")
        return FilesFound(sources.walk(path), shown(path.name))
    if not path.is_file():
        raise NotFound(f"There is no zip {shown(str(path))}.")
    yield StageStarted(stage="reading", title=f"Unpacking {shown(path.name)}")
    most = UNPACKED_FOR_PACKED * settings.current().max_upload_bytes
    return FilesFound(archive.extract(path, place, max_bytes=most, room=room), shown(path.name))


def _read_all(placed: Layout, keep: _Writer | None) -> Generator[Event, None, list[ImageEntry | Refusal]]:
    items = placed.items
    label_of = {name: label for label, name in enumerate(placed.classes)}

    def one(row: int) -> ImageEntry | Refusal:
        return _read_one(row, items[row], label_of[items[row].class_name], keep)

    pace = Pace("reading", len(items))
    readings: list[ImageEntry | Refusal] = []
    with closing(in_order(one, len(items))) as read:
        for reading in read:
            readings.append(reading)
            yield from pace.at(len(readings))
    return readings


def _read_one(row: int, item: Item, label: int, keep: _Writer | None) -> ImageEntry | Refusal:
    try:
        content = read_bytes(item.path)
    except UnreadableImage as error:
        return Refusal(file=item.name, kind=error.reason, message=error.message)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else "unknown reason"
        return Refusal(file=item.name, kind="unreadable", message=f"The file could not be opened: {reason}.")
    sha256 = hashlib.sha256(content).hexdigest()
    known = keep.taken_over(row, sha256) if keep else None
    if known is not None:
        own = {
            "label": label,
            "split": item.split,
            "name": item.name,
            "group": None,
            "given_group": item.group,
            "suspicion": None,
        }
        return known.model_copy(update=own)
    try:
        made = guarded.shared().make_copy(content, keep=keep is not None)
    except UnreadableImage as error:
        return Refusal(file=item.name, kind=error.reason, message=error.message)
    return ImageEntry(
        sha256=sha256,
        label=label,
        split=item.split,
        name=item.name,
        file=keep.write(row, made) if keep else "",
        width=made.width,
        height=made.height,
        crc32=zlib.crc32(made.content),
        given_group=item.group,
        measured=made.measured,
    )


def _manifest(
    spec: IngestSpec,
    placed: Layout,
    readings: Sequence[ImageEntry | Refusal],
    found: FilesFound,
    keep: _Writer | None,
    onto: Manifest | None,
) -> Manifest:
    images: list[ImageEntry] = []
    seen: dict[_Picture, int | None] = {}
    if onto:
        images, seen = _before(onto, placed.classes)
    given: list[tuple[int, str]] = []
    before = len(images)
    refused = [*placed.refused]
    copies: list[str] = []
    for reading in readings:
        if isinstance(reading, Refusal):
            refused.append(reading)
            continue
        same = (reading.label, reading.split, reading.sha256)
        if same not in seen:
            seen[same] = len(images)
            images.append(reading)
            continue
        copies.append(reading.name)
        row = seen[same]
        if reading.given_group is not None and row is not None:
            given.append((row, reading.given_group))
        if keep:
            keep.remove(reading.file)
    if len(images) == before and copies:
        raise LayoutError(
            f"There is nothing new among these {len(readings):,} pictures: the data set has {len(copies):,} of them already"
            f"{f', and {len(readings) - len(copies):,} cannot be read' if len(copies) < len(readings) else ''}."
        )
    if len(images) == before:
        raise LayoutError(
            f"None of the {len(placed.items):,} pictures could be read. The first: {refused[0].file}: {refused[0].message}"
        )
    return Manifest(
        name=shown(spec.name) or found.source,
        created=time.time(),
        source=f"{onto.source}, {found.source}" if onto else found.source,
        classes=placed.classes,
        images=_with_groups_of_copies(images, given),
        copies=COPIES if keep else 0,
        refused=tuple(refused),
        passed_over=placed.passed_over,
        dropped_duplicates=len(copies),
        exact_copies=tuple(copies),
        folded_folders=placed.folded_folders,
        licence=found.licence or (onto.licence if onto else None),
        note=found.note or (onto.note if onto else None),
    )


_Picture = tuple[int, Split | None, str]
"""The class (its number), the part of the user's own split, and the hash of a picture: two that have these in common are one."""


def _before(onto: Manifest, classes: tuple[str, ...]) -> tuple[list[ImageEntry], dict[_Picture, int | None]]:
    """The images of `onto`, with their labels among `classes`; and the row of each picture that it has, or None where a version before has it."""
    label_of = {name: label for label, name in enumerate(classes)}
    images = [
        image.model_copy(update={"label": label_of[onto.classes[image.label]], "group": None, "suspicion": None})
        for image in onto.images
    ]
    row_of = {image.file: row for row, image in enumerate(images)}
    seen: dict[_Picture, int | None] = {}
    version: Manifest | None = onto
    while version is not None:
        for image in version.images:
            label = label_of.setdefault(version.classes[image.label], len(label_of))
            # Beside own splits, a picture without one is learned from; what is here in any part is not added without one.
            for split in (image.split or "train", None):
                seen.setdefault((label, split, image.sha256), row_of.get(image.file))
        version = version.parent
    return images, seen


def _with_groups_of_copies(images: Sequence[ImageEntry], given: Sequence[tuple[int, str]]) -> tuple[ImageEntry, ...]:
    """`images` with the groups that the user gave to dropped copies of them, by row; two groups that so share a picture become one."""
    if not given:
        return tuple(images)
    group_of = [image.given_group for image in images]
    names = list(dict.fromkeys([*filter(None, group_of), *(group for _, group in given)]))
    number_of = {name: number for number, name in enumerate(names)}
    joined = Joined(len(names))
    for row, group in given:
        own = group_of[row] or group
        group_of[row] = own
        joined.pair(number_of[own], number_of[group])
    return tuple(
        image if group is None else image.model_copy(update={"given_group": names[joined.root(number_of[group])]})
        for image, group in zip(images, group_of, strict=True)
    )


class _Known(NamedTuple):
    """One picture of a finished data set."""

    folder: Path
    """The folder of that data set."""
    image: ImageEntry


def _known_pictures(folders: Iterable[Path]) -> dict[str, _Known]:
    """The pictures of the data sets in `folders`, by the hash of their original bytes; of two pictures with one hash, that of the newer data set.

    Left out are data sets that are still being read or whose copies were made by another version.
    """
    manifests = sorted(
        (modified(path), path, folder)
        for folder in folders
        for path in (folder / "manifest.json", *(folder / "versions").glob("*-manifest.json"))
    )
    pictures: dict[str, _Known] = {}
    for _, path, folder in reversed(manifests):
        if len(pictures) >= MOST_KNOWN:
            break
        with suppress(DocumentError, NotFound, OSError):
            manifest = Manifest.read(path)
            for image in manifest.images if manifest.copies == COPIES else ():
                pictures.setdefault(image.sha256, _Known(folder, image))
    return pictures


def _take_over(known: _Known, into: Path, stem: str, *, room: Callable[[int], None]) -> str | None:
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
