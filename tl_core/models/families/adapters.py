"""Adapters: steps of a network's own forward function that are no modules of it, as small modules with names. Needs torch.

A row in the table of families names an adapter with an @ in a stage or in the tail. In `@name:path,path`, the modules and parameters
of the library's network after the colon belong to this adapter, so that each parameter belongs to exactly one part; adapters share
them with the network. Adapters behave the same in training and evaluation and do not change their input. Those for timm keep the
network itself, unregistered, and call its own methods.
"""

import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from tl_core.errors import UnknownName
from tl_core.models.families.family import VIT_TOKENS


class Adapter(nn.Module):
    """A step of the forward function of the library's `network`; `holds` is what stands after the colon of its path.

    Raises:
        ValueError: the adapter holds nothing of the network, but `holds` is not empty.
    """

    def __init__(self, network: nn.Module, holds: str = "") -> None:
        super().__init__()
        if holds:
            raise ValueError(f"{type(self).__name__} holds nothing of the network, so {holds!r} would be lost.")


class Flatten(Adapter):
    """(N, K, 1, 1) to (N, K)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Mean(Adapter):
    """The mean of each channel over all positions: (N, K, h, w) to (N, K)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Relu(Adapter):
    """ReLU: negative values become zero. DenseNet's last step before pooling."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu()


class TransformInput(Adapter):
    """GoogLeNet's and Inception's `_transform_input`: from ImageNet's mean and deviation to 0.5 and 0.5, (N, 3, H, W).

    Their weights were trained in TensorFlow with 0.5 and 0.5, but the published transforms normalise by ImageNet's values. Without
    this step the pretrained weights would see shifted colours.
    """

    def __init__(self, network: nn.Module, holds: str = "") -> None:
        super().__init__(network, holds)
        mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
        # Constants and not buffers: adapters are not registered, so nothing would move buffers to the device.
        self._scale = tuple((std / 0.5).tolist())
        self._shift = tuple(((mean - 0.5) / 0.5).tolist())

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.tensor(self._scale, dtype=x.dtype, device=x.device).view(-1, 1, 1)
        shift = torch.tensor(self._shift, dtype=x.dtype, device=x.device).view(-1, 1, 1)
        return x * scale + shift


class VitTokens(Adapter):
    """Patches to tokens in torchvision's ViT: (N, D, h, w) to (N, 1 + h*w, D), class token first, position embeddings added."""

    def __init__(self, network: nn.Module, holds: str = "") -> None:
        super().__init__(network, holds)
        self.class_token = cast(nn.Parameter, network.class_token)
        self.pos_embedding = cast(nn.Parameter, network.get_submodule("encoder").pos_embedding)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(x.shape[0], -1, -1), tokens], dim=1) + self.pos_embedding


class ClassToken(Adapter):
    """The first token: (N, T, D) to (N, D)."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class Part(Adapter):
    """An adapter that shares some of the network's modules and parameters."""

    def __init__(self, network: nn.Module, holds: str = "") -> None:
        super().__init__(network)
        # In a tuple: as an attribute, the whole network would be registered as a child of this module.
        self._network = (network,)
        for number, path in enumerate(holds.split(",") if holds else ()):
            owner, _, name = path.rpartition(".")
            held = getattr(network.get_submodule(owner), name)
            if isinstance(held, nn.Parameter):
                self.register_parameter(f"held{number}", held)
            else:
                self.add_module(f"held{number}", held)

    @property
    def network(self) -> nn.Module:
        return self._network[0]


class Tokens(Part):
    """Images (N, 3, H, W) to tokens (N, T, D): patches, class and register tokens, position embeddings, the norm before the blocks."""

    def forward(self, x: Tensor) -> Tensor:
        network = self.network
        tokens = network._pos_embed(network.patch_embed(x))  # type: ignore[operator]
        if isinstance(tokens, tuple):
            # EVA returns the rotary embedding beside the tokens; each `RopeBlock` asks for it again.
            return cast(Tensor, network.norm_pre(tokens[0]))  # type: ignore[operator]
        return cast(Tensor, network.norm_pre(network.patch_drop(tokens)))  # type: ignore[operator]


class KeptGrids:
    """`get_embed` of timm's rotary embedding `rope`, which computes the grid of a shape once for each device and type.

    timm computes it on the CPU at each call, which a GPU would wait for. `rope` must have no parameters. A grid that is augmented is
    drawn anew at each call. A grid that is exported is computed in the graph, since what is kept would be a constant there.
    """

    def __init__(self, rope: nn.Module) -> None:
        self._rope = rope
        self._compute = cast(Callable[..., Tensor], rope.get_embed)
        self._kept: dict[tuple[object, ...], Tensor] = {}

    def __call__(self, shape: Sequence[int] | None = None, dtype: torch.dtype | None = None) -> Tensor:
        augmented = self._rope.training and getattr(self._rope, "aug_active", False)
        if shape is None or augmented or torch.compiler.is_compiling():
            return self._compute(shape=shape, dtype=dtype)
        key = (*shape, dtype, *((buffer.device, buffer.dtype) for buffer in self._rope.buffers()))
        if key not in self._kept:
            # Gradient steps could not use a tensor that was made in inference mode.
            with torch.inference_mode(False), torch.no_grad():
                self._kept[key] = self._compute(shape=shape, dtype=dtype)
        return self._kept[key]


class RopeBlock(Adapter):
    """One block whose attention needs the rotary position embedding: (N, T, D) to (N, T, D).

    Images are squares, so the number of tokens gives the shape of the grid. All blocks, and `Tokens`, share one grid (`KeptGrids`),
    unless each block learns its own.
    """

    def __init__(self, network: nn.Module, holds: str = "") -> None:
        super().__init__(network)
        rope = cast(nn.Module, network.rope)
        if not isinstance(rope.get_embed, KeptGrids) and next(rope.parameters(), None) is None:
            # An object and not a function: a copy of the network gets one of its own.
            rope.get_embed = KeptGrids(rope)  # type: ignore[assignment]
        self.block = network.get_submodule(holds)
        self._network = (network,)
        self._number = int(holds.rpartition(".")[2])

    def forward(self, x: Tensor) -> Tensor:
        network = self._network[0]
        side = math.isqrt(x.shape[1] - cast(int, network.num_prefix_tokens))
        rope = cast(Tensor, network.rope.get_embed(shape=(side, side)))  # type: ignore[union-attr,operator]
        if getattr(network, "rope_mixed", False):
            rope = rope[self._number]
        return cast(Tensor, self.block(x, rope=rope))


class Features(Part):
    """The whole network up to its last features, by its own `forward_features`."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.network.forward_features(x))  # type: ignore[operator]


class Pool(Part):
    """The last features to the embedding (N, D), by the network's own `forward_head`: pooling, norms, hidden layers."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.network.forward_head(x, pre_logits=True))  # type: ignore[operator]


class Whole(Part):
    """Images (N, 3, H, W) to the embedding as a map of one position (N, D, 1, 1), where the features are several tensors."""

    def forward(self, x: Tensor) -> Tensor:
        network = self.network
        embedding = network.forward_head(network.forward_features(x), pre_logits=True)  # type: ignore[operator]
        return cast(Tensor, embedding)[:, :, None, None]


ADAPTERS: dict[str, type[Adapter]] = {
    "@flatten": Flatten,
    "@mean": Mean,
    "@relu": Relu,
    "@transform_input": TransformInput,
    VIT_TOKENS: VitTokens,
    "@class_token": ClassToken,
    "@tokens": Tokens,
    "@rope_block": RopeBlock,
    "@features": Features,
    "@pool": Pool,
    "@whole": Whole,
}


def part(network: nn.Module, path: str) -> nn.Module:
    """The module of the library's `network` at `path`, or the adapter that `path` names.

    Raises:
        UnknownName: there is no such adapter.
        AttributeError: there is no such module.
    """
    if not path.startswith("@"):
        return network.get_submodule(path)
    name, _, holds = path.partition(":")
    if name not in ADAPTERS:
        raise UnknownName.among("adapter", name, ADAPTERS)
    return ADAPTERS[name](network, holds)
