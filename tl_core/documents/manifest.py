"""What a data set holds: its manifest (one entry per image, one per refused file, the names of the classes), its versions with what is to be
done with single files, and the split of a run.
"""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tl_core.documents.base import MANY_PROBLEMS, Document, Record

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
COPIES = 1
"""Version of how the copies of a data set are made: raise it when the same bytes would give another copy or thumbnail, or another value of a number."""


class Suspicion(Record):
    """Why the label of one picture is probably wrong, in words that stay true when classes get other numbers."""

    label: str
    """Name of the class that it had when it was judged."""
    suggested: str
    """Name of the likeliest class by the answer to it."""
    label_probability: float
    """Probability of its label."""
    suggested_probability: float


class ImageEntry(Record):
    """One image of a data set; its position in `Manifest.images` is its row everywhere else."""

    sha256: str
    """Hash of the original file's bytes, hex."""
    label: int = Field(ge=0)
    """Index into `Manifest.classes`."""
    split: Split | None = None
    """The user's own split, where there is one."""
    name: str
    """Original path inside the folder, for display only."""
    file: str = Field(pattern=r"^([0-9A-Za-z_-]+\.(jpg|png))?$")
    """Generated name of the normalised copy under images/ and, with .jpg, of its thumbnail under thumbnails/; never a path. Empty
    where nothing was kept.
    """
    width: int
    """Pixels of the normalised copy."""
    height: int
    """Pixels of the normalised copy."""
    crc32: int = 0
    """Checksum of the normalised copy's bytes."""
    measured: dict[str, int | float] = Field(default_factory=dict)
    """What the checks of `data/checks` that look at files or pixels measured, by the kind of the check."""
    group: int | None = Field(default=None, ge=0)
    """Number of the group of pictures that show the same thing; None: this one is alone, or groups were not looked for."""
    given_group: str | None = None
    """The group that the user gave it in a CSV, see `data/given_groups`; None: none was given."""
    suspicion: Suspicion | None = None
    """Why its label is probably wrong; None: it is not suspected, or the labels were not judged."""
    reviewed: bool = Field(default=False, exclude=True)
    """Whether the user has looked at it and decided that it stays with its label; known in the versions of a data set, and not written."""


class Refusal(Record):
    """A file that looked like a picture, or should have been one, and was not taken."""

    file: str
    """Original path inside the folder, for display only."""
    kind: str
    """The reason in one word, as in `errors.UnreadableImage.reason`, or `no_class` or `unreadable`."""
    message: str
    """The reason as a sentence for the user."""


class Manifest(Document):
    """What a data set holds. Byte-identical images are a group also where groups were not looked for."""

    name: str
    """The name of the data set, display text."""
    created: float
    """When the data set was read, seconds since the epoch."""
    source: str
    """For display: a folder's or zip's name, or `sample:NAME`."""
    classes: tuple[str, ...]
    """Names of the classes, sorted; display text only."""
    images: tuple[ImageEntry, ...]
    copies: int = 0
    """The value of `COPIES` when the copies were made; 0 where none were kept."""
    refused: tuple[Refusal, ...] = ()
    passed_over: int = 0
    """Number of files that are no pictures (.DS_Store, text...)."""
    dropped_duplicates: int = 0
    """Number of files that were left out as byte-identical to another one of the same class (and split)."""
    exact_copies: tuple[str, ...] = ()
    """Original paths of those files."""
    grouped: bool = False
    """Whether pictures that show the same thing were looked for (`data/groups`)."""
    folded_folders: int = 0
    """Number of folders below a class folder whose pictures were counted as that class."""
    licence: str | None = None
    note: str | None = None
    """One sentence about a sample: its source, and what was published on it."""
    parent: "Manifest | None" = Field(default=None, exclude=True, repr=False)
    """The version of the data set that this one was made from; None: this is what was read. Not written (`data/remedying`)."""
    parent_rows: tuple[int, ...] = Field(default=(), exclude=True, repr=False)
    """The row of each image in `parent`; -1 for one that was added to that."""

    @model_validator(mode="after")
    def _labels_name_classes(self) -> Self:
        if any(image.label >= len(self.classes) for image in self.images):
            raise ValueError("an image has a label that no class stands for")
        return self

    @cached_property
    def content(self) -> str:
        """A hash of the original bytes of all images, in their order (64 hex digits)."""
        return hashlib.sha256(b"".join(bytes.fromhex(image.sha256) for image in self.images)).hexdigest()

    @cached_property
    def own_splits(self) -> bool:
        """Whether the user has split the pictures: some are in val or test. In a version, all of these may be left out."""
        return any(image.split in ("val", "test") for image in self.images)

    @property
    def added(self) -> tuple[ImageEntry, ...]:
        """The images that the version which this one was made from does not have; none in what was read."""
        return tuple(image for image, row in zip(self.images, self.parent_rows, strict=False) if row < 0)

    def ancestors(self) -> Iterator[tuple["Manifest", tuple[int, ...]]]:
        """The versions before that hold all images of this one, the latest first, each with the row of every image in it."""
        manifest, rows = self, tuple(range(len(self.images)))
        while manifest.parent is not None and not manifest.added:
            rows = tuple(manifest.parent_rows[row] for row in rows)
            manifest = manifest.parent
            yield manifest, rows

    def counts(self) -> dict[str, int]:
        """Images per class, in class order."""
        images = Counter(image.label for image in self.images)
        return {name: images[index] for index, name in enumerate(self.classes)}


Group = Annotated[int, Field(ge=0, lt=2**31)]


class SplitRecord(Document):
    """The split of a run, which later versions of Graft might cut differently."""

    parts: dict[Split, dict[str, Group]]
    """For each part, the group of each of its pictures, by the SHA-256 of the file's bytes (64 hex digits). Pictures with the same number
    show the same thing, in whichever part they are. A picture that was in no part is not named. In a split of the user's own, the same
    bytes may be in several parts."""

    @property
    def group_of(self) -> dict[str, int]:
        """The group of each picture of any part, by its hash."""
        return {content: group for part in self.parts.values() for content, group in part.items()}

    def learned_groups(self) -> set[int]:
        """The groups with a picture that was learned from, or that settings were chosen by."""
        return {*self.parts.get("train", {}).values(), *self.parts.get("val", {}).values()}


class Remedies(Document):
    """Files to leave out, to move to another class, and to keep as they are. A file is in one of the three at most.

    For a folder of the user's, a file's name is its original path inside it, as in `ImageEntry.name`, `Refusal.file` and the findings.
    For a data set it is the generated name of the picture's copy, `ImageEntry.file`, which no two pictures share.
    """

    leave_out: tuple[str, ...] = ()
    """Files that are left out."""
    move: dict[str, str] = Field(default_factory=dict)
    """For each file that has the wrong class, the name of the right one."""
    keep: tuple[str, ...] = ()
    """Files that were looked at and stay as they are."""

    @model_validator(mode="after")
    def _one_for_each_file(self) -> Self:
        named = Counter([*dict.fromkeys(self.leave_out), *self.move, *dict.fromkeys(self.keep)])
        several = [file for file, count in named.items() if count > 1]
        if several:
            raise ValueError(
                f"{len(several):,} files are named in more than one of leave_out, move and keep: {', '.join(several[:MANY_PROBLEMS])}"
            )
        return self

    def __len__(self) -> int:
        """Number of files that are named."""
        return len(self.leave_out) + len(self.move) + len(self.keep)

    def then(self, later: Self) -> Self:
        """These remedies, and for the files that `later` names, those in their place."""
        again = {*later.leave_out, *later.move, *later.keep}
        return type(self)(
            leave_out=(*(file for file in self.leave_out if file not in again), *later.leave_out),
            move={**{file: to for file, to in self.move.items() if file not in again}, **later.move},
            keep=(*(file for file in self.keep if file not in again), *later.keep),
        )

    def without(self, files: Collection[str]) -> Self:
        """These remedies but for `files`."""
        return type(self)(
            leave_out=tuple(file for file in self.leave_out if file not in files),
            move={file: to for file, to in self.move.items() if file not in files},
            keep=tuple(file for file in self.keep if file not in files),
        )


class DatasetVersion(Document):
    """versions/N.json in a data set's folder: how version N differs from the one that it was made from. Version 1 is what was read.

    Where pictures were added, all that version N holds is in versions/N-manifest.json, the pictures from before first.
    """

    parent: int = Field(ge=1)
    """Number of the version that it was made from."""
    created: float
    """Seconds since the epoch."""
    remedies: Remedies = Remedies()
    """What was left out, moved or kept; files are named by `ImageEntry.file`."""
    added: int = Field(default=0, ge=0)
    """Number of pictures that were added; 0 where it is remedies that made the version."""
