"""The tables of families and of networks: the rows of backbones.json, and networks that were added by name in this store.

`tl_core.models.metadata.rows` makes backbones.json from the libraries' metadata; `tl_core.models.metadata.timm_network` makes the
row of a network of timm that is added by name. Imports no torch.
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Literal

from tl_core.disk import read_once
from tl_core.documents.base import Document, Record
from tl_core.errors import DocumentError, NotFound, SpecError, UnknownName
from tl_core.models.families.family import Family, Source
from tl_core.models.families.timm import TIMM
from tl_core.models.families.torchvision import TORCHVISION
from tl_core.settings import store_folder
from tl_core.table import Table

BACKBONES_FILE = Path(__file__).with_name("backbones.json")

FAMILIES = Table("family", [*TIMM, *TORCHVISION])

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]

_ADDED_FOLDER = "networks"
"""Folder of the store with one file for each network that was added by name. Which of them a workspace lists, the workspace knows."""
_TIMM_NAME = re.compile(r"[a-z0-9][a-z0-9_]{1,79}(\.[a-z0-9][a-z0-9_]{0,59})?")
"""The name of a network in timm and, after the dot, the name of a set of its weights."""


class WeightsRow(Record):
    """One set of pretrained weights of a network, and the size and normalisation of the pictures that it expects."""

    name: str
    """The library's own name, such as `IMAGENET1K_V2`."""
    trained_on: str = "ImageNet-1k"
    """The data that the weights were trained on, in order."""
    url: str | None
    """Address of the file; None where a Python package contains it."""
    package: str | None
    """The Python package that contains the file; None where the file is downloaded."""
    file: str
    """Name of the file in PyTorch's cache folder, or its path inside the package."""
    sha256: str
    """First hex digits of the file's SHA-256, or all of them; empty where only the server states it."""
    download_bytes: int
    tensors: Literal["named", "in_order"]
    """How the file's tensors map to the network's: by name, or one to one in order where the names differ."""
    input_size: int
    """Side of the square input, in pixels."""
    mean: tuple[float, float, float]
    """Mean of the red, green and blue channels, with values from 0 to 1."""
    std: tuple[float, float, float]
    """Standard deviation of the same channels."""
    interpolation: Interpolation
    imagenet_accuracy: float | None
    """Published top-1 accuracy on ImageNet-1k, a fraction; None where the weights have no classifier, or no figure is published."""
    without: tuple[str, ...] = ()
    """Modules that the file has no values for; they keep their random initial values."""
    licence: str


class Network(Record):
    """One network that can be a backbone, without a new head."""

    name: str
    builder: str
    """The name by which its library builds it."""
    family: str
    source: Source
    head: str
    """Path of the linear layer that a new head replaces."""
    parameters: int
    """Number of parameters, with a head for ImageNet's 1,000 classes and without auxiliary heads."""
    gflops: float
    """10^9 multiply-adds for one image at the default weights' input size."""
    embedding_size: int
    """Number of features that go into the head."""
    stages: tuple[str, ...]
    """Names of the stages, from the stem up."""
    stage_parameters: tuple[int, ...]
    """Number of parameters of each stage; those of the tail count for the last stage. The head is not included."""
    stage_gflops: tuple[float, ...]
    """10^9 multiply-adds of each stage, for one image at the default weights' input size."""
    stage_shapes: tuple[tuple[int, ...], ...]
    """Shape of each stage's output for one image at the default weights' input size: (K, h, w), (h, w, K) or tokens (T, K)."""
    map_shape: tuple[int, int, int]
    """Channels, height and width of the last features, whatever their layout."""
    smallest_size: int
    """Smallest image size in pixels at which the last map has one position and every layer runs."""
    size_step: int
    """Image sizes must be multiples of this number of pixels."""
    fixed_size: bool
    """Whether the network takes only the image size of its weights."""
    weights: tuple[WeightsRow, ...]
    default_weights: str
    weights_class: str | None = None
    """The class that holds the sets of weights in torchvision, such as `ResNet50_Weights`; None in other libraries."""
    own_layout: Family | None = None
    """How a network that was added by name is put together; None where the table of families says it."""

    @property
    def layout(self) -> Family:
        return self.own_layout or FAMILIES[self.family]

    @property
    def backbone_parameters(self) -> int:
        """Number of parameters without any head."""
        return sum(self.stage_parameters)

    def head_parameters(self, classes: int) -> int:
        """Number of parameters of a head for `classes` classes."""
        return (self.embedding_size + 1) * classes

    def weights_row(self, name: str | None = None) -> WeightsRow:
        """The set of weights called `name`, or the default one.

        Raises:
            UnknownName: the network has no such set.
        """
        wanted = name or self.default_weights
        for weights in self.weights:
            if weights.name == wanted:
                return weights
        raise UnknownName.among(f"set of weights of {self.name}", wanted, (row.name for row in self.weights))

    def check_image_size(self, image_size: int, weights: str | None = None) -> None:
        """Refuse an image size that the network cannot take with the set called `weights` (None: the default one).

        Raises:
            SpecError: the network does not take this size; the message lists the sizes that it takes.
            UnknownName: the network has no such set.
        """
        row = self.weights_row(weights)
        if self.fixed_size:
            if image_size != row.input_size:
                raise SpecError(
                    f"{self.name} with the weights {row.name} takes pictures of {row.input_size} pixels only, "
                    f"not {image_size}."
                )
        elif image_size < self.smallest_size:
            raise SpecError(
                f"An image size of {image_size} is too small for {self.name}: it takes {self.smallest_size} pixels or more."
            )
        elif image_size % self.size_step:
            below = max(image_size // self.size_step * self.size_step, self.smallest_size)
            raise SpecError(
                f"An image size of {image_size} does not fit {self.name}: it takes multiples of {self.size_step}, "
                f"such as {below} or {below + self.size_step}."
            )


class Backbones(Document):
    """The file backbones.json, and the file of one network that was added by name."""

    networks: tuple[Network, ...]


def networks(added: Iterable[str] = ()) -> Table[Network]:
    """The networks by name: those of backbones.json, the default first, then those of `added` that were added to this store."""
    rows = (_added(name) for name in sorted(set(added)) if name not in _shipped())
    return Table("backbone", [*_shipped().values(), *(row for row in rows if row is not None)])


def network(name: str) -> Network:
    """The network called `name`: one of backbones.json, or one that was added to this store, by whomever.

    Raises:
        UnknownName: there is no such network; the message lists names of backbones.json.
    """
    return (None if name in _shipped() else _added(name)) or _shipped().named(name)


def check_name(name: str) -> None:
    """Refuse what cannot be the name of a network in timm, before it becomes the name of a file.

    Raises:
        SpecError: the message says which names are possible.
    """
    if not _TIMM_NAME.fullmatch(name):
        raise SpecError(
            f"{name!r} cannot be the name of a network: timm's names are lower-case letters, digits and underscores, "
            "with a dot before the weights, such as convnextv2_nano.fcmae_ft_in1k."
        )


def added_file(name: str) -> Path:
    """The file that holds the network `name` if it was added by name.

    Raises:
        SpecError: `name` cannot be the name of a network.
    """
    check_name(name)
    return store_folder() / _ADDED_FOLDER / f"{name}.json"


def keep(network: Network) -> None:
    """Add `network`, which is in no table, to this store.

    Raises:
        SpecError: its name cannot be one of timm's.
        DiskFull: no space is left.
    """
    Backbones(networks=(network,)).write(added_file(network.name))


@cache
def _shipped() -> Table[Network]:
    table = Table("backbone", Backbones.read(BACKBONES_FILE).networks)
    for network in table.values():
        if network.family not in FAMILIES:
            raise ValueError(f"{network.name} names the family {network.family!r}, which is not in the table.")
        network.weights_row(network.default_weights)
    return table


def _added(name: str) -> Network | None:
    """The row of the network `name` that was added to this store; None where there is none that can be read."""
    try:
        return _read(added_file(name))
    except (SpecError, OSError):
        return None


@read_once(1024)
def _read(file: Path) -> Network | None:
    """The network in `file`; None where it cannot be read, so that it is made again when needed."""
    try:
        (row,) = Backbones.read(file).networks
    except (DocumentError, NotFound, ValueError):
        return None
    return row if row.own_layout is not None and row.name == file.stem else None
