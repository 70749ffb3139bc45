"""Writes backbones.json from the libraries' own metadata: `python -m tl_core.models.metadata.write` (make registry).

Needs torch, torchvision and timm, and takes several minutes. Which networks there are is in the table of families; the licences of
torchvision's weights, which its metadata lack, are here.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tl_core.disk import write_atomically
from tl_core.models.families.family import Family
from tl_core.models.families.torchvision import TORCHVISION
from tl_core.models.metadata.counted import counted
from tl_core.models.metadata.timm_rows import timm_networks
from tl_core.models.registry import BACKBONES_FILE, Backbones, Network, WeightsRow

LICENCES = {
    None: "BSD-3-Clause",
    "https://github.com/facebookresearch/SWAG/blob/main/LICENSE": "CC-BY-NC-4.0",
}
"""Licences by torchvision's metadata. Where these name none for the weights, it is the licence of the library."""

WITHOUT = {"VGG16_Weights.IMAGENET1K_FEATURES": ("classifier",)}
"""Modules that a set of weights has no values for; only torchvision's documentation says so."""

SWAG = "photos from Instagram by their hashtags, then ImageNet-1k"
"""What Meta's SWAG weights were trained on; only torchvision's documentation says so."""


def collect() -> Backbones:
    """The whole table, made from the installed libraries; the default network first."""
    return Backbones(networks=(*timm_networks(), *torchvision_networks()))


def torchvision_networks() -> Iterator[Network]:
    """The rows of all networks of torchvision that are offered."""
    for family in TORCHVISION:
        for builder in family.networks:
            yield torchvision_network(builder, family)


def torchvision_network(builder: str, family: Family) -> Network:
    """The row of one network, for the image size of its default weights."""
    from torchvision.models import get_model_weights

    sets, default = torchvision_weights(builder)
    size = next(weights.input_size for weights in sets if weights.name == default)
    return Network(
        name=builder,
        builder=builder,
        family=family.name,
        source=family.source,
        head=family.head,
        stages=family.stage_names,
        weights=sets,
        default_weights=default,
        weights_class=get_model_weights(builder).__name__,
        **counted(builder, family, size),
    )


def torchvision_weights(builder: str) -> tuple[tuple[WeightsRow, ...], str]:
    """Every set of weights of a network, and the name of the library's default set."""
    from torchvision.models import get_model_weights

    enum = get_model_weights(builder)
    return tuple(_weights(member) for member in enum), str(enum.DEFAULT.name)


def _weights(member: Any) -> WeightsRow:
    preset = member.transforms()
    file = member.url.rsplit("/", 1)[1]
    digits = re.search(r"-([0-9a-f]{8,})\.pth$", file)
    if digits is None:
        raise ValueError(f"{file} carries no hash in its name.")
    accuracy = member.meta["_metrics"]["ImageNet-1K"]["acc@1"]
    return WeightsRow(
        name=member.name,
        trained_on=SWAG if "SWAG" in member.name else "ImageNet-1k",
        url=member.url,
        package=None,
        file=file,
        sha256=digits[1],
        download_bytes=round(member.meta["_file_size"] * 2**20),
        tensors="named",
        input_size=preset.crop_size[0],
        mean=tuple(preset.mean),
        std=tuple(preset.std),
        interpolation=preset.interpolation.value,
        imagenet_accuracy=None if math.isnan(accuracy) else round(accuracy / 100, 5),
        without=WITHOUT.get(str(member), ()),
        licence=LICENCES[member.meta.get("license")],
    )


def write(table: Backbones, path: Path) -> None:
    """Write `table` to `path` as JSON with one network per line."""
    rows = ",\n".join(json.dumps(each.model_dump(mode="json"), ensure_ascii=False) for each in table.networks)
    write_atomically(path, f'{{"schema_version": {table.schema_version}, "networks": [\n{rows}\n]}}\n'.encode())


if __name__ == "__main__":
    write(collect(), BACKBONES_FILE)
