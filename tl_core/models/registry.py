"""Networks and their sets of pretrained weights, as rows read from backbones.json.

Knows what the libraries' metadata say of each network (`tl_core.models.metadata.write` writes the file). Knows neither
torch nor which weights are on this machine (`tl_core.models.weights.obtain`).
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import Literal

from tl_core.documents.base import Document, Record
from tl_core.errors import DocumentError, NotFound, SpecError, UnknownName
from tl_core.models import added as typed
from tl_core.models.families.all_families import FAMILIES, Family, Source

BACKBONES_FILE = Path(__file__).with_name("backbones.json")

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos"]


class WeightsRow(Record):
    """One set of pretrained weights of a network, and what its pictures must look like."""

    name: str
    """The library's own: `IMAGENET1K_V2`."""
    trained_on: str = "ImageNet-1k"
    """The pictures that they learned from, in the order in which they did."""
    url: str | None
    """Where the file is downloaded from; None where a Python package brings it."""
    package: str | None
    """The Python package that holds the file, where there is one."""
    file: str
    """Name of the file in PyTorch's cache folder, or its path inside the package."""
    sha256: str
    """First hex digits of the file's SHA-256, or all of them; empty where only the server knows it."""
    download_bytes: int
    tensors: Literal["named", "in_order"]
    """How tensors of the file map to the network's: by name, or one to one in order where the names differ."""
    input_size: int
    """Pixels, the side of the square."""
    mean: tuple[float, float, float]
    """Of RGB in [0, 1]."""
    std: tuple[float, float, float]
    interpolation: Interpolation
    imagenet_accuracy: float | None
    """Published top-1 accuracy on ImageNet-1k, a fraction; None where the weights come without a classifier, or nobody says."""
    without: tuple[str, ...] = ()
    """Modules that the file has no values for; they keep their random start."""
    licence: str


class Network(Record):
    """One network that can be a backbone, as it stands without any new head."""

    name: str
    builder: str
    """The name by which its library builds it."""
    family: str
    source: Source
    head: str
    """Path of the linear layer that a new head replaces."""
    parameters: int
    """With the head for ImageNet's 1,000 classes, without auxiliary heads."""
    gflops: float
    """10^9 multiply-adds for one image at the default weights' input size."""
    embedding_size: int
    """Features that go into the head."""
    stages: tuple[str, ...]
    """Names, from the stem up."""
    stage_parameters: tuple[int, ...]
    """Of each stage; what learns in the tail counts to the last one. The head is not in it."""
    stage_gflops: tuple[float, ...]
    stage_shapes: tuple[tuple[int, ...], ...]
    """What each stage gives for one picture at the default weights' input size: (K, h, w), (h, w, K) or tokens (T, K)."""
    map_shape: tuple[int, int, int]
    """Channels, height, width of the last features, in whatever layout the stages give them."""
    smallest_size: int
    """Pixels: the last map has a whole position left, and no layer refuses."""
    size_step: int
    """Image sizes are multiples of it."""
    fixed_size: bool
    """Whether only the size of the weights will do."""
    weights: tuple[WeightsRow, ...]
    default_weights: str
    own_layout: Family | None = None
    """How it is put together, where no row of the table of families says it: networks of timm that somebody typed."""

    @property
    def layout(self) -> Family:
        return self.own_layout or FAMILIES[self.family]

    @property
    def backbone_parameters(self) -> int:
        """Without any head."""
        return sum(self.stage_parameters)

    def head_parameters(self, classes: int) -> int:
        return (self.embedding_size + 1) * classes

    def weights_row(self, name: str | None = None) -> WeightsRow:
        """The set of weights called `name`, or the default one.

        Raises:
            UnknownName: the network has no such set.
        """
        wanted = name or self.default_weights
        for row in self.weights:
            if row.name == wanted:
                return row
        raise UnknownName.among(f"set of weights of {self.name}", wanted, (row.name for row in self.weights))

    def check_image_size(self, image_size: int, weights: str | None = None) -> None:
        """Refuse a size that the network cannot take with the set called `weights` (None: the default one).

        Raises:
            SpecError: says which sizes it takes.
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
    """backbones.json"""

    networks: tuple[Network, ...]


def networks() -> dict[str, Network]:
    """Every network by name, the default first; those that were typed by hand in this store come last."""
    return {**_shipped(), **_typed()}


@cache
def _shipped() -> dict[str, Network]:
    table: dict[str, Network] = {}
    for row in Backbones.read(BACKBONES_FILE).networks:
        if row.name in table:
            raise ValueError(f"Two networks are called {row.name!r} in {BACKBONES_FILE.name}.")
        if row.family not in FAMILIES:
            raise ValueError(f"{row.name} names the family {row.family!r}, which is not in the table.")
        row.weights_row(row.default_weights)
        table[row.name] = row
    return table


def _typed() -> dict[str, Network]:
    rows = (_read(file, changed) for file, changed in typed.files())
    return {row.name: row for row in rows if row is not None and row.name not in _shipped()}


@lru_cache(maxsize=1024)
def _read(file: Path, changed: int) -> Network | None:
    """The row in `file` of the moment `changed`; None where it cannot be read, so that it is made anew when asked for."""
    try:
        (row,) = Backbones.read(file).networks
    except (DocumentError, NotFound, ValueError):
        return None
    return row if row.own_layout is not None and row.name == file.stem else None


def keep(row: Network) -> None:
    """Write the row of a network that was typed by hand into the store.

    Raises:
        SpecError: its name cannot be one of timm's.
        DiskFull: no space is left.
    """
    Backbones(networks=(row,)).write(typed.file_of(row.name))


def network(name: str) -> Network:
    """The row of the network called `name`.

    Raises:
        UnknownName: there is none; the message lists those there are.
    """
    table = networks()
    if name not in table:
        raise UnknownName.among("backbone", name, table)
    return table[name]
