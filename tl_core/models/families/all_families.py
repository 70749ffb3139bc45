"""Families of networks: where the stages, the tail and the head of each lie, one row a family.

Knows the module paths inside torchvision's and timm's networks. Knows no weights, no network by name, no torch.
"""

from __future__ import annotations

from collections.abc import Iterable

from tl_core.errors import UnknownName
from tl_core.models.families.family import FLATTEN, Auxiliary, Family, MapLayout, Source, Stage
from tl_core.models.families.timm import TIMM
from tl_core.models.families.torchvision import TORCHVISION

__all__ = ["FAMILIES", "FLATTEN", "Auxiliary", "Family", "MapLayout", "Source", "Stage", "family"]


def _table(rows: Iterable[Family]) -> dict[str, Family]:
    table: dict[str, Family] = {}
    for row in rows:
        if row.name in table:
            raise ValueError(f"Two families are called {row.name!r}.")
        table[row.name] = row
    return table


FAMILIES: dict[str, Family] = _table([*TIMM, *TORCHVISION])


def family(name: str) -> Family:
    """The row of the family called `name`.

    Raises:
        UnknownName: there is none; the message lists those there are.
    """
    if name not in FAMILIES:
        raise UnknownName.among("family", name, FAMILIES)
    return FAMILIES[name]
