"""What is to be done with single files of a data set, by the names that they had when they were read."""

from __future__ import annotations

from collections import Counter
from typing import Self

from pydantic import Field, model_validator

from tl_core.documents.base import MANY_PROBLEMS, Document


class Remedies(Document):
    """Files to leave out, to move to another class, and to keep as they are. A file is in one of the three at most.

    A file's name is its original path inside the folder, as in `ImageEntry.name`, in `Refusal.file` and in the findings.
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
