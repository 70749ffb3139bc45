"""split.json: in which part each picture of a run was, by its content, kept with the run and in its bundle."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tl_core.documents.base import Document
from tl_core.documents.manifest import Split

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
