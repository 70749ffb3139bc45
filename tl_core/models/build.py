"""A backbone: a pretrained network seen as stages, tail and head, with its normalisation and a new head. Needs torch.

Networks come as torchvision and timm build them; files of weights of any format are read into them without running code from the file.
"""

import contextlib
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from tl_core.errors import DownloadFailed
from tl_core.models.families.adapters import part
from tl_core.models.families.family import Family
from tl_core.models.registry import Network, WeightsRow


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A network's stages and tail. This class is not an nn.Module, so that the modules stay registered only once, under the
    library's names."""

    stages: tuple[tuple[str, nn.Sequential], ...]
    tail: nn.Sequential


def take_apart(module: nn.Module, family: Family) -> Parts:
    """The stages and the tail of the library's network `module`; both share its modules."""
    return Parts(
        stages=tuple(
            (stage.name, nn.Sequential(*(part(module, path) for path in stage.modules))) for stage in family.stages
        ),
        tail=nn.Sequential(*(part(module, path) for path in family.tail)),
    )


class Backbone(nn.Module):
    """A network of the registry, seen as stages, tail and head.

    `tensors` uses the library's own names, so that a saved file loads into the library's network.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Network, module: nn.Module, weights: WeightsRow) -> None:
        super().__init__()
        self.network = network
        self.module = module
        self.register_buffer("mean", torch.tensor(weights.mean) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(weights.std) * 255, persistent=False)
        self._parts = take_apart(module, network.layout)

    @property
    def stages(self) -> tuple[tuple[str, nn.Sequential], ...]:
        """(name, modules) of each stage from the stem up; the tail is not included."""
        return self._parts.stages

    @property
    def head(self) -> nn.Linear | None:
        """The linear layer from embedding to logits; None where the backbone was built without classes."""
        layer = self.module.get_submodule(self.network.head)
        return layer if isinstance(layer, nn.Linear) else None

    def set_head(self, head: nn.Linear | None) -> None:
        """Replace the head by `head`, or remove it (None). Auxiliary heads become zeros for as many classes."""
        self._replace(self.network.head, nn.Identity() if head is None else head)
        for auxiliary in self.network.layout.auxiliary:
            layer: nn.Module = nn.Identity()
            if head is not None:
                layer = nn.Linear(auxiliary.features, head.out_features).requires_grad_(False)
                for parameter in layer.parameters():
                    nn.init.zeros_(parameter)
            self._replace(auxiliary.head, layer)

    def _replace(self, path: str, layer: nn.Module) -> None:
        parent, _, name = path.rpartition(".")
        setattr(self.module.get_submodule(parent), name, layer)

    def stage_parameters(self, stage: int) -> Iterator[nn.Parameter]:
        """The parameters of stage number `stage` (0: the stem); those of the last stage include the tail's."""
        yield from self._parts.stages[stage][1].parameters()
        if stage == len(self._parts.stages) - 1:
            yield from self._parts.tail.parameters()

    def head_parameters(self) -> Iterator[nn.Parameter]:
        yield from self.module.get_submodule(self.network.head).parameters()

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) RGB to normalised float32 (N, 3, H, W)."""
        return (images.permute(0, 3, 1, 2).float() - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)

    def spatial(self, x: Tensor) -> Tensor:
        """Normalised (N, 3, H, W) to the output of the last stage: (N, K, h, w), (N, h, w, K) or tokens (N, T, K)."""
        for _, stage in self._parts.stages:
            x = stage(x)
        return x

    def map(self, last: Tensor) -> Tensor:
        """The output of the last stage as the spatial map (N, K, h, w) of a heatmap; class and register tokens are left out."""
        layout = self.network.layout
        if layout.map_layout == "channels_first":
            return last
        if layout.map_layout == "channels_last":
            return last.permute(0, 3, 1, 2)
        tokens = last[:, layout.prefix_tokens :].transpose(1, 2)
        side = math.isqrt(tokens.shape[2])
        return tokens.reshape(-1, tokens.shape[1], side, side)

    def pool(self, last: Tensor) -> Tensor:
        """The output of the last stage to the embedding (N, D)."""
        return cast(Tensor, self._parts.tail(last))

    def embed(self, x: Tensor) -> Tensor:
        """Normalised (N, 3, H, W) to the embedding (N, D)."""
        return self.pool(self.spatial(x))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised (N, 3, H, W) to logits (N, C); the embedding (N, D) where there is no head."""
        return cast(Tensor, self.module.get_submodule(self.network.head)(self.embed(x)))

    def prefix(self, frozen: int) -> nn.Sequential:
        """The first `frozen` stages, with the tail if these are all: normalised images to activations.

        `prefix` and `suffix` share their modules with this backbone: `suffix(k)(prefix(k)(x))` is `self(x)`.

        Raises:
            ValueError: `frozen` is not in 0 to the number of stages.
        """
        self._check(frozen)
        parts = [stage for _, stage in self._parts.stages[:frozen]]
        return nn.Sequential(*parts, self._parts.tail) if frozen == len(self._parts.stages) else nn.Sequential(*parts)

    def suffix(self, frozen: int) -> nn.Sequential:
        """All that follows the first `frozen` stages, head included: activations to logits.

        Raises:
            ValueError: `frozen` is not in 0 to the number of stages.
        """
        self._check(frozen)
        head = self.module.get_submodule(self.network.head)
        if frozen == len(self._parts.stages):
            return nn.Sequential(head)
        return nn.Sequential(*(stage for _, stage in self._parts.stages[frozen:]), self._parts.tail, head)

    def tensors(self, *, head: bool = True) -> dict[str, Tensor]:
        """Every tensor by the library's own name, in the library's shape, contiguous on the CPU, as safetensors needs them."""
        heads = (self.network.head, *(auxiliary.head for auxiliary in self.network.layout.auxiliary))
        prefixes = tuple(f"{path}." for path in heads)
        state = self.module.state_dict()
        weight = f"{self.network.head}.weight"
        if weight in state:
            state[weight] = state[weight].reshape(*state[weight].shape, *self.network.layout.head_trailing)
        return {
            name: value.detach().cpu().contiguous()
            for name, value in state.items()
            if head or not name.startswith(prefixes)
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Load what `tensors` returned.

        Raises:
            ValueError: names are missing or unknown, or a shape is another one.
        """
        weight = f"{self.network.head}.weight"
        if weight in tensors:
            tensors = {**tensors, weight: tensors[weight].flatten(1)}
        problem = fill(self.module, tensors)
        if problem:
            raise ValueError(f"The tensors do not fit {self.network.name}: {problem}")

    def _check(self, frozen: int) -> None:
        if not 0 <= frozen <= len(self._parts.stages):
            raise ValueError(f"{self.network.name} has {len(self._parts.stages)} stages; {frozen} cannot be frozen.")


def build(
    network: Network,
    *,
    weights: str | None,
    weights_file: Path | None = None,
    classes: int | None,
    seed: int = 0,
    like: str | None = None,
) -> Backbone:
    """Build `network` with pretrained `weights` (None: random, from `seed`) and a new head for `classes` (None: no head).

    `weights` names one of the network's sets of weights; `weights_file` is the file that `weights.obtain.fetch` returned. With random
    weights, image size and normalisation are those of the set `like` (None: the default one). The backbone is in eval mode on the
    CPU. Global random state is not changed.

    Raises:
        UnknownName: the network has no such set of weights.
        DownloadFailed: the file does not hold this network's tensors.
    """
    row = network.weights_row(weights or like)
    if weights is not None and weights_file is None:
        raise ValueError("Pretrained weights need their file.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = library_network(network.builder, network.layout, row.input_size)
        if weights_file is not None:
            read_weights(module, network, row, weights_file)
        backbone = Backbone(network, module, row)
        torch.manual_seed(seed)
        backbone.set_head(None if classes is None else nn.Linear(network.embedding_size, classes))
    return backbone.eval()


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

        module = timm.create_model(builder, pretrained=False, **chosen)
    else:
        import torchvision

        module = torchvision.models.get_model(builder, weights=None, **chosen)
    # Adaptive pooling to one position becomes a mean, which is a single node in an ONNX graph.
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1)):
                setattr(parent, name, GlobalMean())
    return cast(nn.Module, module)


class GlobalMean(nn.Module):
    """The mean of each channel: (N, K, h, w) to (N, K, 1, 1)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


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
    else:
        try:
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
        except Exception as error:
            raise DownloadFailed(
                f"The weights file {path.name} cannot be read as tensors: it is damaged, or holds something else, which could "
                f"run a stranger's code and was not opened. Replace or delete {path}; safetensors are best."
            ) from error
        if isinstance(loaded, dict):
            loaded = next((loaded[name] for name in _WRAPPERS if isinstance(loaded.get(name), dict)), loaded)
    # Given no tensor at all, timm would download some.
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
    return cast("dict[str, Tensor]", source.state_dict())
