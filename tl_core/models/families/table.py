"""The table of families: every row of torchvision's and timm's networks by its name."""

from __future__ import annotations

from collections.abc import Iterable

from tl_core.models.families.family import Family
from tl_core.models.families.timm import TIMM
from tl_core.models.families.torchvision import TORCHVISION


def _table(rows: Iterable[Family]) -> dict[str, Family]:
    table: dict[str, Family] = {}
    for family in rows:
        if family.name in table:
            raise ValueError(f"Two families are called {family.name!r}.")
        table[family.name] = family
    return table


FAMILIES: dict[str, Family] = _table([*TIMM, *TORCHVISION])
