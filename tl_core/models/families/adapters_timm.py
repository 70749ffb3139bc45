"""Adapters for timm's networks, which call the network's own methods (see `families.adapters`). Needs torch.

A path is `@name:path,path`: after the colon stand the modules and parameters of the network that belong to this adapter, so that
each parameter belongs to exactly one part. The network itself is kept unregistered beside them.
"""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor, nn


class _Part(nn.Module):
    """An adapter that shares some of the network's modules and parameters."""

    def __init__(self, network: nn.Module, holds: str = "") -> None:
        super().__init__()
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


class Tokens(_Part):
    """Images (N, 3, H, W) to tokens (N, T, D): patches, class and register tokens, position embeddings, the norm before the blocks."""

    def forward(self, x: Tensor) -> Tensor:
        network = self.network
        tokens = network._pos_embed(network.patch_embed(x))  # type: ignore[operator]
        if isinstance(tokens, tuple):
            # EVA returns the rotary embedding beside the tokens; `RopeBlock` computes it again for each block.
            return cast(Tensor, network.norm_pre(tokens[0]))  # type: ignore[operator]
        return cast(Tensor, network.norm_pre(network.patch_drop(tokens)))  # type: ignore[operator]


class RopeBlock(nn.Module):
    """One block whose attention needs the rotary position embedding: (N, T, D) to (N, T, D).

    Images are squares, so the number of tokens gives the shape of the grid.
    """

    def __init__(self, network: nn.Module, path: str) -> None:
        super().__init__()
        self.block = network.get_submodule(path)
        self._network = (network,)
        self._number = int(path.rpartition(".")[2])

    def forward(self, x: Tensor) -> Tensor:
        network = self._network[0]
        side = math.isqrt(x.shape[1] - cast(int, network.num_prefix_tokens))
        rope = cast(Tensor, network.rope.get_embed(shape=(side, side)))  # type: ignore[union-attr,operator]
        if getattr(network, "rope_mixed", False):
            rope = rope[self._number]
        return cast(Tensor, self.block(x, rope=rope))


class Features(_Part):
    """The whole network up to its last features, by its own `forward_features`."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.network.forward_features(x))  # type: ignore[operator]


class Pool(_Part):
    """The last features to the embedding (N, D), by the network's own `forward_head`: pooling, norms, hidden layers."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.network.forward_head(x, pre_logits=True))  # type: ignore[operator]


class Whole(_Part):
    """Images (N, 3, H, W) to the embedding as a map of one position (N, D, 1, 1), where the features are several tensors."""

    def forward(self, x: Tensor) -> Tensor:
        network = self.network
        embedding = network.forward_head(network.forward_features(x), pre_logits=True)  # type: ignore[operator]
        return cast(Tensor, embedding)[:, :, None, None]


ADAPTERS: dict[str, type[nn.Module]] = {
    "@tokens": Tokens,
    "@rope_block": RopeBlock,
    "@features": Features,
    "@pool": Pool,
    "@whole": Whole,
}


def part(network: nn.Module, path: str) -> nn.Module:
    """The adapter that `path` names, with the modules and parameters that stand after its colon.

    Raises:
        KeyError: there is no such adapter.
    """
    name, _, argument = path.partition(":")
    return ADAPTERS[name](network, argument)
