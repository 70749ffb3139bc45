"""The networks of torchvision and timm as the libraries build them, and files of weights of any format read into them, without running
code from the file. Needs torch.
"""

import contextlib
import io
import re
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from tl_core.errors import DownloadFailed
from tl_core.models.families.family import Family
from tl_core.models.registry import Network, WeightsRow

_HEADER_BYTES = 100_000_000
"""Largest header that the safetensors format allows."""
_WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Keys under which training programs store a network's tensors beside those of an optimizer."""


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
    initial = {
        name: value
        for name, value in expected.items()
        if name.startswith(absent)
        or (name.startswith(optional) and name not in loaded)
        or (name.startswith(replaced) and (name not in loaded or loaded[name].shape != value.shape))
    }
    usable = {name: value for name, value in loaded.items() if name in expected or not name.startswith(replaced)}
    problem = fill(module, {**usable, **initial})
    if problem:
        raise DownloadFailed(
            f"The weights file {path.name} does not fit {network.name}: {problem} Replace or delete {path}."
        )


def fill(module: nn.Module, tensors: dict[str, Tensor]) -> str | None:
    """Copy `tensors` by name into `module`. Returns None, or a sentence that says what does not fit; then nothing is copied.

    The batch counters of batch norm may be missing, since old files lack them. The library's own loading hooks do not run:
    that of MNASNet refuses tensors that do not come from torch.load.
    """
    expected = cast("dict[str, Tensor]", module.state_dict())
    missing = [name for name in expected if name not in tensors and not name.endswith(".num_batches_tracked")]
    if missing:
        return f"{missing[0]} is missing" + (f", and {len(missing) - 1} more." if len(missing) > 1 else ".")
    for name, value in tensors.items():
        if name not in expected:
            return f"{name} is not one of its tensors."
        if value.shape != expected[name].shape:
            return f"{name} is {tuple(value.shape)}, {tuple(expected[name].shape)} is needed."
    with torch.no_grad():
        for name, value in tensors.items():
            expected[name].copy_(value)
    return None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor by its name, on the CPU: from safetensors, or from a state dict of `torch.save` with only tensors allowed.

    The format is recognised by the content, not by the file's name. A state dict may be under the key `state_dict` or `model`.

    Raises:
        DownloadFailed: the file is damaged, or has content other than tensors, which could run a stranger's code.
    """
    if is_safetensors(path):
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            loaded: Any = load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise DownloadFailed(f"The weights file {path.name} is damaged. Replace or delete {path}.") from error
        return _checked(loaded, path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:
        raise DownloadFailed(
            f"The weights file {path.name} cannot be read as tensors: it is damaged, or holds something else, which could "
            f"run a stranger's code and was not opened. Replace or delete {path}; safetensors are best."
        ) from error
    if isinstance(loaded, dict):
        loaded = next((loaded[name] for name in _WRAPPERS if isinstance(loaded.get(name), dict)), loaded)
    return _checked(loaded, path)


def _checked(loaded: Any, path: Path) -> dict[str, Tensor]:
    """`loaded`, if it is a dictionary of at least one tensor: given none, timm would download some."""
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise DownloadFailed(
            f"The weights file {path.name} does not hold a network's tensors. Replace or delete {path}."
        )
    return loaded


def is_safetensors(path: Path) -> bool:
    """Whether the file begins as safetensors do: a length of eight bytes, the lowest first, then JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") <= _HEADER_BYTES


def in_todays_names(
    module: nn.Module,
    builder: str,
    options: dict[str, Any],
    tag: str,
    heads: tuple[str, ...],
    loaded: dict[str, Tensor],
) -> dict[str, Tensor]:
    """`loaded` with the names and shapes of `module`, which timm builds as `builder` with `options`; its heads keep their values.

    Further tensors in the file (mask tokens, a head of another size) are left out. Where names or shapes differ, timm converts
    the tensors, since files may be older than its code or come from other programs. timm never reads the file itself.

    Raises:
        DownloadFailed: these are not the tensors of this network.
    """
    expected = module.state_dict()
    below = tuple(f"{head}." for head in heads)
    needed = {name for name in expected if not name.startswith(below)}
    if not all(name in loaded and loaded[name].shape == expected[name].shape for name in needed):
        loaded = _converted(
            builder, {name: value for name, value in options.items() if name != "num_classes"}, tag, loaded
        )
    fitting = {name: loaded[name] for name in needed if name in loaded}
    return {name: value for name, value in expected.items() if name not in needed} | fitting


def _converted(builder: str, options: dict[str, Any], tag: str, loaded: dict[str, Tensor]) -> dict[str, Tensor]:
    import timm

    configs = timm.models.get_arch_pretrained_cfgs(builder)
    name = f"{builder}.{tag}" if f"{builder}.{tag}" in configs else builder
    try:
        # timm prints what it skips.
        with contextlib.redirect_stdout(io.StringIO()):
            source = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": loaded}, **options)
    except (RuntimeError, KeyError, AttributeError, ValueError, TypeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DownloadFailed(
            f"The weights file of {name} does not hold its tensors ({reason}). Delete it and start again."
        ) from error
    converted: dict[str, Tensor] = source.state_dict()
    return converted
