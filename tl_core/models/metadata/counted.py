"""Parameters, multiply-adds, shapes and image sizes of a network, counted on torch's meta device without computing. Needs torch."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode

from tl_core.models.build import Parts, take_apart
from tl_core.models.families.family import Family
from tl_core.models.libraries import library_network

IMAGENET_CLASSES = 1000
STEPS = (1, 2, 4, 7, 8, 14, 16, 28, 32)
"""Steps between image sizes that are tried, in pixels; a network that takes none of them takes one size only."""


class _EmptyOnMeta(TorchFunctionMode):
    """Creates parameters without memory. `torch.device("meta")` would also affect RegNet's computation of its own widths."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.empty:
            kwargs["device"] = "meta"
        return func(*args, **kwargs)


def meta_network(builder: str, family: Family, image_size: int, **options: Any) -> nn.Module:
    """The library's network without values, in eval mode: it takes no memory and is made in milliseconds."""
    with _EmptyOnMeta():
        module = library_network(builder, family, image_size, **options)
    return module.to("meta").eval()


def counted(builder: str, family: Family, image_size: int) -> dict[str, Any]:
    """The fields of a `Network` that can be counted, for images of `image_size` pixels."""
    # Without gradients, since the hooks of the counter do not work on views of parameters.
    module = meta_network(builder, family, image_size).requires_grad_(False)
    parts = take_apart(module, family)
    x = torch.empty(1, 3, image_size, image_size, device="meta")
    gflops, shapes = [], []
    for _, stage in parts.stages:
        x, operations = _run(stage, x)
        gflops.append(operations)
        shapes.append(tuple(x.shape[1:]))
    spatial = _map_shape(family, shapes[-1])
    x, operations = _run(parts.tail, x)
    gflops[-1] += operations
    head = module.get_submodule(family.head)
    counts = [_parameters(stage) for _, stage in parts.stages]
    counts[-1] += _parameters(parts.tail)
    return {
        # A head of several layers is replaced by one layer.
        "parameters": sum(counts)
        + (_parameters(head) if hasattr(head, "weight") else (x.shape[1] + 1) * IMAGENET_CLASSES),
        "gflops": round(sum(gflops) + x.shape[1] * IMAGENET_CLASSES / 1e9, 4),
        "embedding_size": x.shape[1],
        "stage_parameters": tuple(counts),
        "stage_gflops": tuple(round(value, 4) for value in gflops),
        "stage_shapes": tuple(shapes),
        "map_shape": spatial,
        **_image_sizes(parts, image_size, spatial[1]),
    }


def _run(part: nn.Module, x: Tensor) -> tuple[Tensor, float]:
    """The output of `part`, and its multiply-adds in 10^9."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        x = part(x)
    return x, counter.get_total_flops() / 2e9


def _parameters(part: nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())


def _map_shape(family: Family, shape: tuple[int, ...]) -> tuple[int, int, int]:
    if family.map_layout == "channels_first":
        return shape[0], shape[1], shape[2]
    if family.map_layout == "channels_last":
        return shape[2], shape[0], shape[1]
    side = round((shape[0] - family.prefix_tokens) ** 0.5)
    return shape[1], side, side


def _image_sizes(parts: Parts, image_size: int, side: int) -> dict[str, Any]:
    """Which image sizes the network takes, found by trying; `side` is that of the last map at `image_size`."""

    def takes(size: int) -> bool:
        x = torch.empty(1, 3, size, size, device="meta")
        try:
            with torch.no_grad():
                for _, stage in parts.stages:
                    x = stage(x)
                parts.tail(x)
        except Exception:  # noqa: BLE001 - layers may refuse a size with any error
            return False
        return True

    step = next((step for step in STEPS if takes(image_size + step) and takes(image_size - step)), None)
    if step is None:
        return {"smallest_size": image_size, "size_step": 1, "fixed_size": True}
    low, high = -(-round(image_size / side) // step), image_size // step
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if takes(middle * step) else (middle + 1, high)
    return {"smallest_size": low * step, "size_step": step, "fixed_size": False}
