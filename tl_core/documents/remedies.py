"""What is to be done with single files of a data set, and the versions of a data set that this makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Self

from pydantic import Field, model_validator

from tl_core.documents.base import MANY_PROBLEMS, Document


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

    def then(self, later: Remedies) -> Remedies:
        """These remedies, and for the files that `later` names, those in their place."""
        again = {*later.leave_out, *later.move, *later.keep}
        return Remedies(
            leave_out=(*(file for file in self.leave_out if file not in again), *later.leave_out),
            move={**{file: to for file, to in self.move.items() if file not in again}, **later.move},
            keep=(*(file for file in self.keep if file not in again), *later.keep),
        )

    def without(self, files: Collection[str]) -> Remedies:
        """These remedies but for `files`."""
        return Remedies(
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
