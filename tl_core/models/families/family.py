"""The fields of a row in the table of families, which says how networks of one architecture are taken apart. Data only."""

from dataclasses import dataclass
from typing import Literal

Source = Literal["torchvision", "timm"]

MapLayout = Literal["channels_first", "channels_last", "tokens"]
"""Shape of the last stage's output: (N, K, h, w), (N, h, w, K), or tokens (N, T, K) row by row."""

FLATTEN = "@flatten"
"""A path that begins with @ names an adapter of `tl_core.models.families.adapters` instead of a module of the library: a step
of the network's own forward function between its modules. This one flattens (N, K, 1, 1) to (N, K)."""
VIT_TOKENS = "@vit_tokens"
"""The adapter that makes tokens of patches in torchvision's ViT."""
_HOLDS = {VIT_TOKENS: ("class_token", "encoder.pos_embedding")}
"""What adapters hold of the library's network without a colon in their path."""


def held(path: str) -> tuple[str, ...]:
    """The modules and parameters of the library's network that are trained with the module or adapter at `path`, by their own paths."""
    if not path.startswith("@"):
        return (path,)
    _, _, named = path.partition(":")
    return tuple(named.split(",")) if named else _HOLDS.get(path, ())


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Billions of multiply-adds per second, counted as in the network's row."""

    forward: float
    """Speed of a frozen forward pass: in ONNX Runtime on one core of a CPU, in torch on another device."""
    step: float
    """Speed of a training step, forward and backward, through the whole network; only forward multiply-adds are counted."""
    late_step: float
    """Speed of a training step where the first stages are frozen: small maps need fewer bytes for each multiply-add."""


CONVOLUTIONS = Speed(forward=50.0, step=12.0, late_step=14.0)
DEPTHWISE = Speed(forward=35.0, step=3.5, late_step=12.0)
"""Depthwise convolutions move many bytes for little work."""
MATRICES = Speed(forward=50.0, step=15.0, late_step=15.0)


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Consecutive modules that are frozen or trained together."""

    name: str
    modules: tuple[str, ...]
    """Dotted module paths, or adapters, in the order in which they run."""


@dataclass(frozen=True, kw_only=True)
class Auxiliary:
    """A second classifier on an inner layer, which some networks were trained with. It is not used and never trained."""

    head: str
    """Path of its last linear layer, which is replaced by zeros. The first name of the path is that of the whole classifier."""
    features: int
    """Number of inputs of that layer."""

    @property
    def root(self) -> str:
        """Path of the whole classifier."""
        return self.head.partition(".")[0]


@dataclass(frozen=True, kw_only=True)
class Family:
    """How every network of one family is put together: stages, tail and head, one after the other.

    Networks of one published architecture whose module paths differ (ViT with 12 or 24 layers) are one family each.
    """

    name: str
    source: Source
    architecture: str = ""
    """Name of the published architecture: `vit` for `vit_12` and `vit_24`. Empty: the same as `name`."""
    networks: tuple[str, ...] = ()
    """Networks of torchvision that are offered, by the library's names; those of timm are `families.timm.LISTED`."""
    stages: tuple[Stage, ...]
    """From the stem up; the output of the last one is the last spatial map, in `map_layout`."""
    tail: tuple[str, ...]
    """Modules from the map to the embedding (N, D): pooling, flattening, norms. They are trained with the last stage."""
    head: str
    """Path of the linear layer from the embedding to the logits."""
    head_trailing: tuple[int, ...] = ()
    """Further dimensions of the library's own head weight after (C, D): (1, 1) where the head is a 1x1 convolution."""
    linear_on_pooled: bool
    """Whether the embedding is the mean of the map over its positions, so that class weights times map is a heatmap."""
    pooled_norm: str = ""
    """Path of the layer norm over the channels, where the embedding is that norm of the mean of the map over its positions. Then the
    logits are linear in the map, too, up to one scale for each picture. Empty: there is none, or more than it."""
    map_layout: MapLayout = "channels_first"
    map_places: tuple[int, int] | None = None
    """Where the positions of the map lie if convolutions without padding cut the edges off: pixels of the input from the edge to the
    middle of the first position, and from one to the next. None: the positions divide the picture evenly."""
    prefix_tokens: int = 0
    """Number of class and register tokens before those of the positions (`tokens` only)."""
    transformer: bool = False
    """Whether the blocks are attention and linear layers."""
    linear_blocks: bool = False
    """Whether most of the blocks' weights are in linear layers, without attention, as in ConvNeXt or MLP-Mixer. Convolutions of size 1
    do not count: for networks that have those instead (timm's `convnext_nano`), the estimate for convolutions is as good."""
    speed: Speed | None = None
    """Speed on one core of a processor, where that of its kind of layers is no good estimate."""
    channels_last: tuple[str, ...] = ()
    """Devices on which a training step is faster with the channels last in memory. On `cpu` by steps on a processor with AVX-512
    (PyTorch 2, float32; they take 0.67 to 0.93 of the time), on `cuda` by timm's tables of training on an RTX 3090 with and without it
    (results/benchmark-train-amp-*-pt112: 1.1 to 1.6 times as many images, but 0.3 to 0.7 for RegNet). Contiguous where nobody measured,
    and where it makes no difference."""
    batch_norm: bool = True
    """Whether the network has batch norm; networks without it need smaller learning rates."""
    auxiliary: tuple[Auxiliary, ...] = ()
    options: tuple[tuple[str, object], ...] = ()
    """Arguments for the library's function that builds the network."""
    size_option: str | None = None
    """Name of the argument for the image size, where a network is built for the one size of its weights."""
    old_names: tuple[tuple[str, str], ...] = ()
    """Regular expressions and replacements for tensor names in weights files that are older than the library's code."""

    @property
    def stage_names(self) -> tuple[str, ...]:
        return tuple(stage.name for stage in self.stages)

    @property
    def published(self) -> str:
        """Name of the published architecture."""
        return self.architecture or self.name

    @property
    def mixes_places(self) -> bool:
        """Whether attention mixes the positions of the last map, so that one of them says little about its place in the picture.

        In Swin and MaxViT, one window of the last stage holds the whole map of a picture of usual size.
        """
        return self.transformer

    @property
    def core_speed(self) -> Speed:
        """Speed on one core of a processor (2.5 GHz, AVX-512); real ones differ from it by a factor of up to two."""
        return self.speed or (MATRICES if self.matrix_products else CONVOLUTIONS)

    @property
    def matrix_products(self) -> bool:
        """Whether a training step is mostly matrix products, each of which keeps its input, rather than convolutions."""
        return self.transformer or self.linear_blocks


def stages(**modules: tuple[str, ...]) -> tuple[Stage, ...]:
    """Stages by name, each with its modules."""
    return tuple(Stage(name=name, modules=paths) for name, paths in modules.items())
