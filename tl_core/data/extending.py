"""Begins a data set with the pictures of another one, which stays as it is: their copies, thumbnails and entries are taken over."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tl_core.data.class_folders import Layout
from tl_core.data.known import KnownPicture, take_over
from tl_core.data.pace import Pace
from tl_core.data.parallel import in_order
from tl_core.data.split import joined_groups
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.manifest import COPIES, Former, ImageEntry, Manifest, Refusal
from tl_core.documents.remedies import Remedies

_MORE = re.compile(r"(?P<first>.+), (?P<count>[0-9][0-9,]*) more", re.DOTALL)
_GONE = "Its copy in the data set that is added to is damaged or gone. Add the picture again."


@dataclass(frozen=True)
class Begun:
    """What a data set has from the one that it extends."""

    manifest: Manifest
    """The manifest of the one that it extends."""
    images: tuple[ImageEntry | None, ...]
    """Its images under their new file names; None for one whose copy is damaged or gone."""

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """The images whose copy is damaged or gone."""
        old = zip(self.manifest.images, self.images, strict=True)
        return tuple(Refusal(file=image.name, kind="unreadable", message=_GONE) for image, new in old if new is None)

    @property
    def former(self) -> tuple[Former, ...]:
        """`Manifest.former` of the new data set."""
        whole = Former(images=len(self.images), classes=self.manifest.classes, groups=joined_groups(self.manifest))
        return tuple(
            Former(
                images=sum(image is not None for image in self.images[: data.images]),
                classes=data.classes,
                groups=tuple(
                    group for group, image in zip(data.groups, self.images, strict=False) if image is not None
                ),
            )
            for data in (*self.manifest.former, whole)
        )

    @property
    def copies(self) -> int:
        """`Manifest.copies` of the new data set, whose copies are as good as the oldest of them."""
        return min(self.manifest.copies, COPIES)

    def joined(self, placed: Layout, class_names: Mapping[str, str]) -> Layout:
        """`placed` with the classes of both data sets; a folder that `class_names` names stands for the class given there."""
        items = [
            dataclasses.replace(item, class_name=class_names.get(item.class_name, item.class_name))
            for item in placed.items
        ]
        classes = {*self.manifest.classes, *(item.class_name for item in items)}
        return dataclasses.replace(placed, items=tuple(items), classes=tuple(sorted(classes)))

    def labelled(self, classes: tuple[str, ...]) -> list[ImageEntry]:
        """The images, with their labels among `classes`."""
        label_of = {name: label for label, name in enumerate(classes)}
        return [
            image.model_copy(
                update={"label": label_of[self.manifest.classes[image.label]], "group": None, "suspicion": None}
            )
            for image in self.images
            if image is not None
        ]


def begin(data: Path, into: Path, *, room: Callable[[int], None]) -> Generator[Event, None, Begun]:
    """Take over all pictures that the data set folder `data` was read with into `into`, under the numbers of their rows. None is decoded.

    `room` is asked before bytes are written, with their number, which a hard link has none of.

    Raises:
        NotFound, DocumentError: `data` was not read to the end.
        GraftError: there is no room.
        OSError: no space is left.
    """
    manifest = Manifest.read(data / "manifest.json")
    yield StageStarted(stage="reading", title="Taking over the pictures from before")
    checked = manifest.copies > 0

    def one(row: int) -> ImageEntry | None:
        image = manifest.images[row]
        file = take_over(KnownPicture(data, image), into, _stem(row), room=room, checked=checked)
        return image.model_copy(update={"file": file}) if file else None

    pace = Pace("reading", len(manifest.images))
    images: list[ImageEntry | None] = []
    with closing(in_order(one, len(manifest.images))) as taken:
        for image in taken:
            images.append(image)
            yield from pace.at(len(images))
    return Begun(manifest, tuple(images))


def carried_over(changes: Remedies, old: Manifest, new: Manifest) -> Remedies:
    """`changes` to the pictures of `old` as changes to those of `new`, which begins with all of them that are not gone.

    Both manifests are as they were read, version 1.
    """
    file_of = {Path(image.file).stem: image.file for image in new.images}
    name_of = {
        image.file: file for row, image in enumerate(old.images) if (file := file_of.get(_stem(row))) is not None
    }
    return Remedies(
        leave_out=tuple(name_of[file] for file in changes.leave_out if file in name_of),
        move={name_of[file]: to for file, to in changes.move.items() if file in name_of},
        keep=tuple(name_of[file] for file in changes.keep if file in name_of),
    )


def _stem(row: int) -> str:
    """Name of the copy of a picture taken over, without its ending."""
    return f"{row:06}"


def name_with(name: str, added: int) -> str:
    """The name of a data set that has `added` pictures more than the one called `name`: "Trash, 12 more"; after 5 more, "Trash, 17 more"."""
    grown = _MORE.fullmatch(name)
    if grown:
        name, added = grown["first"], added + int(grown["count"].replace(",", ""))
    return f"{name}, {added:,} more"
