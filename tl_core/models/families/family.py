"""What a row of the table of families says: the words in which a network is taken apart. Knows no network, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Source = Literal["torchvision", "timm"]

MapLayout = Literal["channels_first", "channels_last", "tokens"]
"""How the last stage gives its features: (N, K, h, w), (N, h, w, K), or tokens (N, T, K) row by row."""

FLATTEN = "@flatten"
"""A path with an @ names no module of the library but one of `tl_core.models.families.adapters`: what the network's own forward
function does between its modules. This one flattens (N, K, 1, 1) to (N, K)."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A run of modules that is frozen or trained as one."""

    name: str
    modules: tuple[str, ...]
    """Dotted module paths, or adapters, in the order in which they run."""


@dataclass(frozen=True, kw_only=True)
class Auxiliary:
    """A second classifier half-way up, which some networks were trained with. Not a part of our forward pass, never trained."""

    head: str
    """Path of its last linear layer, which is replaced as the head is (by zeros); all under the first name is the classifier's."""
    features: int
    """Inputs of that layer."""

    @property
    def root(self) -> str:
        """Path of the whole classifier."""
        return self.head.partition(".")[0]


@dataclass(frozen=True, kw_only=True)
class Family:
    """How every network of one family is put together: stages, tail, head, one after the other.

    Networks of one published architecture whose module paths differ (ViT with 12 or 24 layers) are one family each.
    """

    name: str
    source: Source
    architecture: str = ""
    """As it was published: `vit` for `vit_12` and `vit_24`. Empty: the family's own name."""
    networks: tuple[str, ...] = ()
    """Names by which the library builds those that the registry offers."""
    stages: tuple[Stage, ...]
    """From the stem up; the last one's output is the last spatial map, in `map_layout`."""
    tail: tuple[str, ...]
    """From the map to the embedding (N, D): pooling, flattening, norms. What learns in it belongs to the last stage."""
    head: str
    """Path of the linear layer from the embedding to the logits."""
    head_trailing: tuple[int, ...] = ()
    """What follows (C, D) in the shape of the library's own head weight: (1, 1) where it is a 1x1 convolution."""
    linear_on_pooled: bool
    """Whether the embedding is the mean of the map over its positions, so that class weights times map is a heatmap."""
    map_layout: MapLayout = "channels_first"
    prefix_tokens: int = 0
    """Class and register tokens before those of the positions (`tokens` only)."""
    transformer: bool = False
    """Whether its blocks are attention and linear layers."""
    batch_norm: bool = True
    """Whether it is normalised over the batch, as most convolutional networks are; those that are not want smaller steps."""
    auxiliary: tuple[Auxiliary, ...] = ()
    options: tuple[tuple[str, object], ...] = ()
    """Arguments for the library's builder."""
    size_option: str | None = None
    """The builder's argument for the image size, where a network is made for the one size of its weights."""
    old_names: tuple[tuple[str, str], ...] = ()
    """Regular expressions and what to put in their place, for tensors' names in weights files older than the network's code."""

    @property
    def stage_names(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages)

    @property
    def published(self) -> str:
        return self.architecture or self.name


def stages(**modules: tuple[str, ...]) -> tuple[Stage, ...]:
    return tuple(Stage(name=name, modules=paths) for name, paths in modules.items())
