"""A backbone: a pretrained network seen as stages, tail and head, with its normalisation and a new head. Needs torch."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from tl_core.models.families.adapters import part
from tl_core.models.families.family import Family
from tl_core.models.libraries import fill, library_network, read_weights
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
