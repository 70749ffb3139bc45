"""The networks of torchvision and timm as the libraries build them, and weights files read into them. Needs torch."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from tl_core.errors import DownloadFailed
from tl_core.models.families.family import Family
from tl_core.models.registry import Network, WeightsRow
from tl_core.models.weights.tensor_files import in_todays_names, is_safetensors, read_tensors


def library_network(builder: str, family: Family, image_size: int, **options: Any) -> nn.Module:
    """The library's network `builder` with random weights and the library's own head; `options` are passed on to the library.

    `image_size` (pixels) is used where the networks of the family are built for one image size.
    """
    chosen: dict[str, Any] = {**dict(family.options), **options}
    if family.size_option:
        chosen[family.size_option] = image_size
    if family.source == "timm":
        import timm

        return _with_plain_means(timm.create_model(builder, pretrained=False, **chosen))
    import torchvision

    return _with_plain_means(torchvision.models.get_model(builder, weights=None, **chosen))


class GlobalMean(nn.Module):
    """The mean of each channel: (N, K, h, w) to (N, K, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


def _with_plain_means(module: nn.Module) -> nn.Module:
    """Replace adaptive pooling to one position by a mean, which is a single node in an ONNX graph."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1)):
                setattr(parent, name, GlobalMean())
    return module


def read_weights(module: nn.Module, network: Network, weights: WeightsRow, path: Path) -> None:
    """Fill the library's network `module` from the file at `path`, which holds the set of weights `weights`.

    The head may be missing or have another number of classes, since it is replaced anyway. Auxiliary classifiers may be missing.

    Raises:
        DownloadFailed: the file cannot be read as tensors, or does not hold the tensors of this network.
    """
    loaded = read_tensors(path)
    expected = module.state_dict()
    heads = (network.head, *(auxiliary.head for auxiliary in network.layout.auxiliary))
    # Safetensors are sorted by name: only PyTorch's own format keeps the order.
    if weights.tensors == "in_order" and loaded.keys() != expected.keys() and not is_safetensors(path):
        loaded = dict(zip(expected, loaded.values(), strict=False)) if len(loaded) == len(expected) else {}
    for pattern, replacement in network.layout.old_names:
        loaded = {re.sub(pattern, replacement, name): value for name, value in loaded.items()}
    if network.source == "timm" and weights.tensors == "named":
        options = dict(network.layout.options)
        loaded = in_todays_names(module, network.builder.partition(".")[0], options, weights.name, heads, loaded)
    absent = tuple(f"{path}." for path in weights.without)
    replaced = tuple(f"{path}." for path in heads)
    optional = tuple(f"{auxiliary.root}." for auxiliary in network.layout.auxiliary)
    kept = {
        name: value
        for name, value in expected.items()
        if name.startswith(absent)
        or (name.startswith(optional) and name not in loaded)
        or (name.startswith(replaced) and (name not in loaded or loaded[name].shape != value.shape))
    }
    known = {name: value for name, value in loaded.items() if name in expected or not name.startswith(replaced)}
    problem = fill(module, {**known, **kept})
    if problem:
        raise DownloadFailed(
            f"The weights file {path.name} does not fit {network.name}: {problem} Replace or delete {path}."
        )


def fill(module: nn.Module, tensors: dict[str, Tensor]) -> str | None:
    """Copy `tensors` by name into `module`. Returns None, or a sentence that says what does not fit; then nothing is copied.

    The batch counters of batch norm may be missing, since old files lack them. The library's own loading hooks do not run:
    that of MNASNet refuses tensors that do not come from torch.load.
    """
    own = cast("dict[str, Tensor]", module.state_dict())
    missing = [name for name in own if name not in tensors and not name.endswith(".num_batches_tracked")]
    if missing:
        return f"{missing[0]} is missing" + (f", and {len(missing) - 1} more." if len(missing) > 1 else ".")
    for name, value in tensors.items():
        if name not in own:
            return f"{name} is not one of its tensors."
        if value.shape != own[name].shape:
            return f"{name} is {tuple(value.shape)}, {tuple(own[name].shape)} is needed."
    with torch.no_grad():
        for name, value in tensors.items():
            own[name].copy_(value)
    return None
