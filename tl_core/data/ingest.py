"""Reads a folder, a zip or a sample into a data set, or onto one of its versions: normalised copies, thumbnails and a manifest.

Pictures that another data set of the workspace holds already are taken over from there. The others come from strangers, so child
processes decode them (`tl_core.data.guarded`); this one reads and writes the files.
"""

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
from tl_core.data import archive, given_groups, guarded, sources
from tl_core.data.measures import MEASURES
from tl_core.data.pace import Pace, in_order
from tl_core.data.pixels import Copy, read_bytes
from tl_core.data.sources import Item, Layout, SourceFile, component, shown
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
    into: Path | None = None,
    *,
    staging: Path,
    known: Iterable[Path] = (),
    onto: Manifest | None = None,
    first: str = "",
    room: Callable[[int], None] = unlimited,
    complete: Callable[[Manifest], Generator[Event, None, Manifest]] | None = None,
) -> Generator[Event, None, Manifest]:
    """Read what `spec` names and write `into`/images, `into`/thumbnails and, last, `into`/manifest.json; without `into`, nothing is kept.

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
    unpacked = staging / "unpacked"
    with disk_full_said("this data set"):
        copies = _Copies(into, _known_pictures(known), first=first, room=room) if into else None
        try:
            source = yield from source_files(spec, unpacked, room)
            layout = sources.layout_of(source.files, spec.classes_from, into=onto)
            if onto:
                layout = _joined(layout, onto)
            layout = yield from _with_groups(spec, layout, source.files)
            yield StageStarted(stage="reading", title="Reading pictures")
            readings = yield from _read_all(layout, copies)
        finally:
            remove(unpacked)
        manifest = _manifest(spec, layout, readings, source, copies, onto)
        if complete:
            manifest = yield from complete(manifest)
        if into and onto is None:
            manifest.write(into / "manifest.json")
    return manifest


def _joined(layout: Layout, onto: Manifest) -> Layout:
    """`layout` with the classes of `onto` as well; a folder whose name stands for one that can be no folder's, such as "a/b", adds to that."""
    named = {component(name): name for name in onto.classes} | {name: name for name in onto.classes}
    items = [dataclasses.replace(item, class_name=named.get(item.class_name, item.class_name)) for item in layout.items]
    classes = {*onto.classes, *(item.class_name for item in items)}
    return dataclasses.replace(layout, items=tuple(items), classes=tuple(sorted(classes)))


def _with_groups(spec: IngestSpec, layout: Layout, files: Sequence[SourceFile]) -> Generator[Event, None, Layout]:
    """`layout` with the groups of the CSV that `spec` names or that lies beside the pictures, where there is one."""
    file = Path(spec.groups_file) if spec.groups_file else given_groups.beside_pictures(files, layout.items)
    if file is None:
        return layout
    given = given_groups.given_groups(file)
    items, strange = given_groups.placed_in_groups(layout.items, given)
    grouped = sum(item.group is not None for item in items)
    yield Notice(
        message=f"{given.name} gives {grouped:,} of {len(items):,} pictures a group"
        + (f"; {strange:,} of its lines name none that is here." if strange else ".")
    )
    return dataclasses.replace(layout, items=items)


class _Known(NamedTuple):
    """A picture of a finished data set."""

    folder: Path
    """The folder of that data set."""
    image: ImageEntry


def _known_pictures(folders: Iterable[Path]) -> dict[str, _Known]:
    """The pictures of the data sets in `folders`, by the hash of their original bytes; of two pictures with one hash, that of the newer data set.

    Left out are data sets that are still being read or whose copies were made by another version, and pictures that lack a number.
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
                # A number that was not measured then is measured now.
                if image.measured.keys() == MEASURES.keys():
                    pictures.setdefault(image.sha256, _Known(folder, image))
    return pictures


class _Copies:
    """The copies and thumbnails in the folder of a data set, which are written from several threads at once."""

    def __init__(self, into: Path, known: Mapping[str, _Known], *, first: str, room: Callable[[int], None]) -> None:
        """`first`: what the names of new files begin with."""
        for folder in ("images", "thumbnails"):
            (into / folder).mkdir(parents=True, exist_ok=True)
        self._into = into
        self._known = known
        self._first = first
        self._room = room

    def taken_over(self, row: int, sha256: str) -> ImageEntry | None:
        """The entry of the picture with that hash, whose files another data set has; None where none has them, or they are damaged.

        The new files are hard links where the file system has them, which is safe because a copy is never written to; deleting one
        data set leaves the files of the other.
        """
        known = self._known.get(sha256)
        if known is None:
            return None
        old_files = _files(known.folder, known.image.file)
        try:
            copy, thumbnail = (file.read_bytes() for file in old_files)
        except OSError:
            return None
        # The last two bytes are the end of a whole JPEG.
        if zlib.crc32(copy) != known.image.crc32 or not thumbnail.endswith(b"\xff\xd9"):
            return None
        name = self._name(row, old_files[0].suffix)
        for old, new, content in zip(old_files, _files(self._into, name), (copy, thumbnail), strict=True):
            try:
                os.link(old, new)
            except OSError:
                # Another file system, one without links, or a file with too many of them.
                self._write(new, content)
        return known.image.model_copy(update={"file": name})

    def write(self, row: int, made: Copy) -> str:
        """Write the copy and the thumbnail; returns the generated file name."""
        name = self._name(row, made.extension)
        for file, content in zip(_files(self._into, name), (made.content, made.thumbnail), strict=True):
            self._write(file, content)
        return name

    def drop(self, again: ImageEntry, image: ImageEntry | None) -> None:
        """Remove the files of `again`, the same picture as `image`, whose files are whole from then on, should they have been damaged."""
        files = _files(self._into, again.file)
        if image and image.crc32 == again.crc32:
            for new, old in zip(files, _files(self._into, image.file), strict=True):
                # Where both are one file with two names, this leaves both.
                new.replace(old)
        for file in files:
            file.unlink(missing_ok=True)

    def _name(self, row: int, extension: str) -> str:
        return f"{self._first}{row:06}{extension}"

    def _write(self, file: Path, content: bytes) -> None:
        self._room(len(content))
        file.write_bytes(content)


def _files(folder: Path, name: str) -> tuple[Path, Path]:
    """Where the copy that is called `name` and its thumbnail lie in the folder of a data set."""
    return folder / "images" / name, folder / "thumbnails" / f"{Path(name).stem}.jpg"


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


def _read_all(layout: Layout, copies: _Copies | None) -> Generator[Event, None, list[ImageEntry | Refusal]]:
    label_of = {name: label for label, name in enumerate(layout.classes)}
    decoders = guarded.shared()

    def read(row: int) -> ImageEntry | Refusal:
        item = layout.items[row]
        try:
            return _read(row, item, label_of[item.class_name], copies, decoders)
        except UnreadableImage as error:
            return Refusal(file=item.name, kind=error.reason, message=error.message)

    pace = Pace("reading", len(layout.items))
    readings: list[ImageEntry | Refusal] = []
    with closing(in_order(read, len(layout.items))) as results:
        for reading in results:
            readings.append(reading)
            yield from pace.at(len(readings))
    return readings


def _read(row: int, item: Item, label: int, copies: _Copies | None, decoders: guarded.Pool) -> ImageEntry:
    """The entry of one picture. Raises UnreadableImage."""
    try:
        content = read_bytes(item.path)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else "unknown reason"
        raise UnreadableImage(f"The file could not be opened: {reason}.", "unreadable") from error
    sha256 = hashlib.sha256(content).hexdigest()
    known = copies.taken_over(row, sha256) if copies else None
    if known is not None:
        of_this_set = {"label": label, "split": item.split, "name": item.name, "given_group": item.group}
        return known.model_copy(update={**of_this_set, "group": None, "suspicion": None})
    made = decoders.make_copy(content, keep=copies is not None)
    return ImageEntry(
        sha256=sha256,
        label=label,
        split=item.split,
        name=item.name,
        file=copies.write(row, made) if copies else "",
        width=made.width,
        height=made.height,
        crc32=zlib.crc32(made.content),
        given_group=item.group,
        measured=made.measured,
    )


def _manifest(
    spec: IngestSpec,
    layout: Layout,
    readings: Sequence[ImageEntry | Refusal],
    source: FilesFound,
    copies: _Copies | None,
    onto: Manifest | None,
) -> Manifest:
    images, row_of = _before(onto, layout.classes) if onto else ([], {})
    before = len(images)
    given: list[tuple[int, str]] = []
    refused = [*layout.refused]
    dropped: list[str] = []
    for reading in readings:
        if isinstance(reading, Refusal):
            refused.append(reading)
            continue
        same = (reading.label, reading.split, reading.sha256)
        if same not in row_of:
            row_of[same] = len(images)
            images.append(reading)
            continue
        dropped.append(reading.name)
        row = row_of[same]
        if reading.given_group is not None and row is not None:
            given.append((row, reading.given_group))
        if copies:
            copies.drop(reading, None if row is None else images[row])
    if len(images) == before and dropped:
        unreadable = len(readings) - len(dropped)
        raise LayoutError(
            f"There is nothing new among these {len(readings):,} pictures: the data set has {len(dropped):,} of them already"
            f"{f', and {unreadable:,} cannot be read' if unreadable else ''}."
        )
    if len(images) == before:
        raise LayoutError(
            f"None of the {len(layout.items):,} pictures could be read. The first: {refused[0].file}: {refused[0].message}"
        )
    return Manifest(
        name=shown(spec.name) or source.source,
        created=time.time(),
        source=f"{onto.source}, {source.source}" if onto else source.source,
        classes=layout.classes,
        images=_with_groups_of_copies(images, given),
        copies=COPIES if copies else 0,
        refused=tuple(refused),
        passed_over=layout.passed_over,
        dropped_duplicates=len(dropped),
        exact_copies=tuple(dropped),
        folded_folders=layout.folded_folders,
        licence=source.licence or (onto.licence if onto else None),
        note=source.note or (onto.note if onto else None),
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
    row_of_file = {image.file: row for row, image in enumerate(images)}
    row_of: dict[_Picture, int | None] = {}
    version: Manifest | None = onto
    while version is not None:
        for image in version.images:
            label = label_of.setdefault(version.classes[image.label], len(label_of))
            # Beside own splits, a picture without one is learned from; what is here in any part is not added without one.
            for split in (image.split or "train", None):
                row_of.setdefault((label, split, image.sha256), row_of_file.get(image.file))
        version = version.parent
    return images, row_of


def _with_groups_of_copies(images: Sequence[ImageEntry], given: Sequence[tuple[int, str]]) -> tuple[ImageEntry, ...]:
    """`images` with the groups that the user gave to dropped copies of them, by row; two groups that so share a picture become one."""
    if not given:
        return tuple(images)
    groups: dict[int, list[str]] = {row: [image.given_group] for row, image in enumerate(images) if image.given_group}
    for row, group in given:
        groups.setdefault(row, []).append(group)
    names = list(dict.fromkeys(name for of_row in groups.values() for name in of_row))
    number_of = {name: number for number, name in enumerate(names)}
    joined = Joined(len(names))
    for of_row in groups.values():
        joined.all([number_of[name] for name in of_row])
    first_name = {row: names[joined.root(number_of[of_row[0]])] for row, of_row in groups.items()}
    return tuple(image.model_copy(update={"given_group": first_name.get(row)}) for row, image in enumerate(images))
