"""The table of families: every row of torchvision's and timm's networks by its name."""

from __future__ import annotations

from tl_core.models.families.timm import TIMM
from tl_core.models.families.torchvision import TORCHVISION
from tl_core.table import Table

FAMILIES = Table("family", [*TIMM, *TORCHVISION])
