"""torchvision's and timm's networks as they build them, and weights files read into them.

Needs torch. Knows how each library is called; what a network's parts are is the table of families' matter.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from tl_core.errors import DownloadFailed
from tl_core.models.families.family import Family
from tl_core.models.registry import Network, WeightsRow
from tl_core.models.weights.tensor_files import is_safetensors, read_tensors


def library_network(builder: str, layout: Family, image_size: int, **options: Any) -> nn.Module:
    """The network called `builder` with random weights and the library's own head; `options` go to the library as they are.

    `image_size` matters where the family's networks are made for one size only.
    """
    chosen: dict[str, Any] = {**dict(layout.options), **options}
    if layout.size_option:
        chosen[layout.size_option] = image_size
    if layout.source == "timm":
        import timm

        return _with_plain_means(timm.create_model(builder, pretrained=False, **chosen))
    import torchvision

    return _with_plain_means(torchvision.models.get_model(builder, weights=None, **chosen))


class GlobalMean(nn.Module):
    """The mean of each channel: (N, K, h, w) to (N, K, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


def _with_plain_means(module: nn.Module) -> nn.Module:
    """Adaptive pooling to one position is a mean; written as one, its ONNX graph is a single node, not a gather over indices."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1)):
                setattr(parent, name, GlobalMean())
    return module


def read_weights(module: nn.Module, network: Network, row: WeightsRow, path: Path) -> None:
    """Fill the library's network `module` from the file at `path`.

    A head for other classes, or none, is no hindrance: it is replaced anyway. Auxiliary classifiers may be missing.

    Raises:
        DownloadFailed: the file cannot be read as tensors, or does not hold this network's.
    """
    loaded = read_tensors(path)
    expected = module.state_dict()
    heads = (network.head, *(auxiliary.head for auxiliary in network.layout.auxiliary))
    # Safetensors are sorted by name: only PyTorch's own format keeps the order.
    if row.tensors == "in_order" and loaded.keys() != expected.keys() and not is_safetensors(path):
        loaded = dict(zip(expected, loaded.values(), strict=False)) if len(loaded) == len(expected) else {}
    for pattern, replacement in network.layout.old_names:
        loaded = {re.sub(pattern, replacement, name): value for name, value in loaded.items()}
    if network.source == "timm" and row.tensors == "named":
        from tl_core.models.weights.tensor_files import in_todays_names

        options = dict(network.layout.options)
        loaded = in_todays_names(module, network.builder.partition(".")[0], options, row.name, heads, loaded)
    absent = tuple(f"{path}." for path in row.without)
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
    """Copy `tensors` by name into `module`; what does not fit in words (nothing is copied then), else None.

    The counters of batch norm may be missing, as files from before they existed lack them. The library's own hooks do
    not run: MNASNet's refuses tensors that do not come from torch.load.
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
