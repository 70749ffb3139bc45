"""A network put together: pretrained backbone in stages, a new head, its own normalisation.

Needs torch. Knows nothing of training, files of runs or where weights come from: it is given a file.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from tl_core.errors import DownloadFailed
from tl_core.models.families import FLATTEN
from tl_core.models.registry import Network, WeightsRow


@dataclass(frozen=True, kw_only=True)
class _Parts:
    """Hides the parts from nn.Module's registry: their modules are registered once, under the library's names."""

    stages: tuple[tuple[str, nn.Sequential], ...]
    tail: nn.Sequential


class Backbone(nn.Module):
    """A network of the registry, seen as stages, tail and head.

    `tensors` gives the library's own names, so that a saved file loads into the library's network.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Network, module: nn.Module, weights: WeightsRow) -> None:
        super().__init__()
        layout = network.layout
        self.row = network
        self.module = module
        self.register_buffer("mean", torch.tensor(weights.mean) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(weights.std) * 255, persistent=False)
        self._parts = _Parts(
            stages=tuple(
                (stage.name, nn.Sequential(*(module.get_submodule(path) for path in stage.modules)))
                for stage in layout.stages
            ),
            tail=nn.Sequential(
                *(nn.Flatten(1) if path == FLATTEN else module.get_submodule(path) for path in layout.tail)
            ),
        )

    @property
    def stages(self) -> tuple[tuple[str, nn.Sequential], ...]:
        """(name, modules) from the stem up; the tail is not in them."""
        return self._parts.stages

    @property
    def head(self) -> nn.Linear | None:
        """The linear layer from embedding to logits; None where the backbone was built without classes."""
        layer = self.module.get_submodule(self.row.head)
        return layer if isinstance(layer, nn.Linear) else None

    def set_head(self, head: nn.Linear | None) -> None:
        """Put `head` in the place of the head, None: take it away."""
        parent, _, name = self.row.head.rpartition(".")
        setattr(self.module.get_submodule(parent), name, nn.Identity() if head is None else head)

    def stage_parameters(self, stage: int) -> Iterator[nn.Parameter]:
        """What learns in stage number `stage` (0: the stem); the last stage's include the tail's."""
        yield from self._parts.stages[stage][1].parameters()
        if stage == len(self._parts.stages) - 1:
            yield from self._parts.tail.parameters()

    def head_parameters(self) -> Iterator[nn.Parameter]:
        yield from self.module.get_submodule(self.row.head).parameters()

    def normalise(self, images: Tensor) -> Tensor:
        """uint8 (N, H, W, 3) RGB to normalised float32 (N, 3, H, W)."""
        return (images.permute(0, 3, 1, 2).float() - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)

    def spatial(self, x: Tensor) -> Tensor:
        """Normalised (N, 3, H, W) to the last spatial map (N, K, h, w)."""
        for _, stage in self._parts.stages:
            x = stage(x)
        return x

    def map(self, last: Tensor) -> Tensor:
        """The last stage's output as the spatial map (N, K, h, w) that a heatmap reads."""
        return last

    def pool(self, spatial: Tensor) -> Tensor:
        """The last spatial map (N, K, h, w) to the embedding (N, D)."""
        return cast(Tensor, self._parts.tail(spatial))

    def embed(self, x: Tensor) -> Tensor:
        """Normalised (N, 3, H, W) to the embedding (N, D)."""
        return self.pool(self.spatial(x))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised (N, 3, H, W) to logits (N, C); the embedding (N, D) where there is no head."""
        return cast(Tensor, self.module.get_submodule(self.row.head)(self.embed(x)))

    def prefix(self, frozen: int) -> nn.Sequential:
        """The first `frozen` stages (all of them: with the tail): normalised images to activations.

        Shares its modules with this backbone, as `suffix` does: `suffix(k)(prefix(k)(x))` is `self(x)`.

        Raises:
            ValueError: `frozen` is not in 0 to the number of stages.
        """
        self._check(frozen)
        parts = [stage for _, stage in self._parts.stages[:frozen]]
        return nn.Sequential(*parts, self._parts.tail) if frozen == len(self._parts.stages) else nn.Sequential(*parts)

    def suffix(self, frozen: int) -> nn.Sequential:
        """What follows the first `frozen` stages, head included: activations to logits.

        Raises:
            ValueError: `frozen` is not in 0 to the number of stages.
        """
        self._check(frozen)
        head = self.module.get_submodule(self.row.head)
        if frozen == len(self._parts.stages):
            return nn.Sequential(head)
        return nn.Sequential(*(stage for _, stage in self._parts.stages[frozen:]), self._parts.tail, head)

    def tensors(self, *, head: bool = True) -> dict[str, Tensor]:
        """Every tensor by the library's own name, on the CPU, contiguous: ready for safetensors."""
        prefix = f"{self.row.head}."
        return {
            name: value.detach().cpu().contiguous()
            for name, value in self.module.state_dict().items()
            if head or not name.startswith(prefix)
        }

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take over what `tensors` gave; all names must be there."""
        self.module.load_state_dict(tensors)

    def _check(self, frozen: int) -> None:
        if not 0 <= frozen <= len(self._parts.stages):
            raise ValueError(f"{self.row.name} has {len(self._parts.stages)} stages; {frozen} cannot be frozen.")


def build(
    network: Network,
    *,
    weights: str | None,
    weights_file: Path | None = None,
    classes: int | None,
    seed: int = 0,
) -> Backbone:
    """Build `network` with pretrained `weights` (None: random, from `seed`) and a new head for `classes`.

    `weights` names a set of the network's row, also where it only says how images are normalised; `weights_file` is
    the file that `models.weights.fetch` gave. Without `classes` there is no head. In eval mode, on the CPU.
    Touches no global random state.

    Raises:
        UnknownName: the network has no such set of weights.
        DownloadFailed: the file does not hold this network's tensors.
    """
    row = network.weights_row(weights)
    if weights is not None and weights_file is None:
        raise ValueError("Pretrained weights need their file.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone = Backbone(network, _library_network(network), row)
        if weights_file is not None:
            _load(backbone, row, weights_file)
        torch.manual_seed(seed)
        backbone.set_head(None if classes is None else nn.Linear(network.embedding_size, classes))
    return backbone.eval()


def _library_network(network: Network) -> nn.Module:
    if network.source == "timm":
        import timm

        return _with_plain_means(timm.create_model(network.builder, pretrained=False))
    import torchvision

    return _with_plain_means(torchvision.models.get_model(network.builder, weights=None))


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


def load_state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a PyTorch weights file, unpickled with nothing but tensors allowed.

    Raises:
        DownloadFailed: the file is damaged or holds anything else.
    """
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:
        raise DownloadFailed(
            f"The weights file {path.name} cannot be read as tensors. Delete {path} and start again."
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise DownloadFailed(f"The weights file {path.name} does not hold tensors. Delete {path} and start again.")
    return loaded


def _load(backbone: Backbone, row: WeightsRow, path: Path) -> None:
    loaded = load_state_dict(path)
    expected = backbone.module.state_dict()
    if row.tensors == "in_order":
        loaded = dict(zip(expected, loaded.values(), strict=False)) if len(loaded) == len(expected) else {}
    fits = loaded.keys() == expected.keys() and all(loaded[name].shape == expected[name].shape for name in expected)
    if not fits:
        raise DownloadFailed(
            f"The weights file {path.name} does not fit {backbone.row.name}. Delete {path} and start again."
        )
    backbone.module.load_state_dict(loaded)
