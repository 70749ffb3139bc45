"""What a data set holds: one entry an image, one entry a refused file. Knows no pixels."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import cached_property
from typing import Literal, Self

from pydantic import Field, model_validator

from tl_core.documents.base import Document, Record

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")
COPIES = 1
"""How the copies of a data set are made: raise it when the same bytes would give another copy or thumbnail."""


class ImageEntry(Record):
    """One image of a data set; its position in `Manifest.images` is its row everywhere else."""

    sha256: str
    """Of the original file's bytes, hex."""
    label: int = Field(ge=0)
    """Index into `Manifest.classes`."""
    split: Split | None = None
    """The user's own split, where there is one."""
    name: str
    """Original path inside the folder, for display only."""
    file: str = Field(pattern=r"^([0-9A-Za-z_-]+\.(jpg|png))?$")
    """Generated name, the same under images/ and (with .jpg) thumbnails/; never a path. Empty where nothing was kept."""
    width: int
    height: int
    """Of the normalised copy, pixels."""
    crc32: int = 0
    """Of the normalised copy's bytes."""


class Refusal(Record):
    """A file that looked like a picture, or should have been one, and was not taken."""

    file: str
    kind: str
    message: str


class Manifest(Document):
    name: str
    created: float
    """Seconds since the epoch."""
    source: str
    """For display: a folder's or zip's name, or `sample:NAME`."""
    classes: tuple[str, ...]
    """Sorted; display text only."""
    images: tuple[ImageEntry, ...]
    copies: int = 0
    """What `COPIES` was when they were made; 0 before there were checksums of them."""
    refused: tuple[Refusal, ...] = ()
    passed_over: int = 0
    """Stray files that are no pictures (.DS_Store, text...)."""
    dropped_duplicates: int = 0
    """Byte-identical images within one class (and split) of which one was kept."""
    conflicts: tuple[tuple[int, ...], ...] = ()
    """Rows that are byte-identical under two labels."""
    leaks: tuple[tuple[int, ...], ...] = ()
    """Rows that are byte-identical across the user's own splits."""
    folded_folders: int = 0
    """Folders below a class folder whose pictures were folded into it."""
    licence: str | None = None
    note: str | None = None
    """One sentence about a sample: its source, what was published on it."""

    @model_validator(mode="after")
    def _labels_name_classes(self) -> Self:
        if any(image.label >= len(self.classes) for image in self.images):
            raise ValueError("an image has a label that no class stands for")
        return self

    @cached_property
    def content(self) -> str:
        """A hash of all its pictures' bytes, in their order (64 hex digits)."""
        return hashlib.sha256(b"".join(bytes.fromhex(image.sha256) for image in self.images)).hexdigest()

    @cached_property
    def own_splits(self) -> bool:
        return any(image.split for image in self.images)

    def counts(self) -> dict[str, int]:
        """Images per class, in class order."""
        found = Counter(image.label for image in self.images)
        return {name: found[index] for index, name in enumerate(self.classes)}
