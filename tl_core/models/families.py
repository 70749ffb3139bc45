"""Families of networks: where the stages, the tail and the head of each lie, one row a family.

Knows the module paths inside torchvision's and timm's networks. Knows no weights, no network by name, no torch.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from tl_core.errors import UnknownName

Source = Literal["torchvision", "timm"]

FLATTEN = "@flatten"
"""Stands for flattening (N, K, 1, 1) to (N, K) where a network does it in its own forward function."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A run of modules that is frozen or trained as one."""

    name: str
    modules: tuple[str, ...]
    """Dotted module paths, in the order in which they run."""


@dataclass(frozen=True, kw_only=True)
class Family:
    """How every network of one family is put together: stages, tail, head, one after the other."""

    name: str
    source: Source
    stages: tuple[Stage, ...]
    """From the stem up; the last one's output is the last spatial map (N, K, h, w)."""
    tail: tuple[str, ...]
    """From the map to the embedding (N, D): pooling, flattening, norms. What learns in it belongs to the last stage."""
    head: str
    """Path of the linear layer from the embedding to the logits."""
    linear_on_pooled: bool
    """Whether the embedding is the mean of the map over its positions, so that class weights times map is a heatmap."""

    @property
    def stage_names(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages)


def _table(rows: Iterable[Family]) -> dict[str, Family]:
    table: dict[str, Family] = {}
    for row in rows:
        if row.name in table:
            raise ValueError(f"Two families are called {row.name!r}.")
        table[row.name] = row
    return table


def _stages(**modules: tuple[str, ...]) -> tuple[Stage, ...]:
    return tuple(Stage(name=name, modules=paths) for name, paths in modules.items())


FAMILIES: dict[str, Family] = _table(
    [
        Family(
            name="efficientnet_lite",
            source="timm",
            stages=_stages(
                stem=("conv_stem", "bn1"),
                stage1=("blocks.0",),
                stage2=("blocks.1",),
                stage3=("blocks.2",),
                stage4=("blocks.3",),
                stage5=("blocks.4",),
                stage6=("blocks.5",),
                stage7=("blocks.6", "conv_head", "bn2"),
            ),
            tail=("global_pool",),
            head="classifier",
            linear_on_pooled=True,
        ),
        Family(
            name="resnet",
            source="torchvision",
            stages=_stages(
                stem=("conv1", "bn1", "relu", "maxpool"),
                layer1=("layer1",),
                layer2=("layer2",),
                layer3=("layer3",),
                layer4=("layer4",),
            ),
            tail=("avgpool", FLATTEN),
            head="fc",
            linear_on_pooled=True,
        ),
        Family(
            name="mobilenet_v3_large",
            source="torchvision",
            stages=_stages(
                stem=("features.0",),
                stage1=("features.1",),
                stage2=("features.2", "features.3"),
                stage3=("features.4", "features.5", "features.6"),
                stage4=("features.7", "features.8", "features.9", "features.10"),
                stage5=("features.11", "features.12"),
                stage6=("features.13", "features.14", "features.15", "features.16"),
            ),
            tail=("avgpool", FLATTEN, "classifier.0", "classifier.1", "classifier.2"),
            head="classifier.3",
            linear_on_pooled=False,
        ),
        Family(
            name="convnext",
            source="torchvision",
            stages=_stages(
                stem=("features.0",),
                stage1=("features.1",),
                stage2=("features.2", "features.3"),
                stage3=("features.4", "features.5"),
                stage4=("features.6", "features.7"),
            ),
            tail=("avgpool", "classifier.0", "classifier.1"),
            head="classifier.2",
            linear_on_pooled=False,
        ),
    ]
)


def family(name: str) -> Family:
    """The row of the family called `name`.

    Raises:
        UnknownName: there is none; the message lists those there are.
    """
    if name not in FAMILIES:
        raise UnknownName.among("family", name, FAMILIES)
    return FAMILIES[name]
