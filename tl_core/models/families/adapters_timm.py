"""What timm's networks do between their modules, as small modules with names: see `tl_core.models.families.adapters`.

A path is `@name:what,it,holds`: the module paths and parameters of the library's network that this part of it owns, so that
each parameter belongs to one part. The network itself is kept beside them, unregistered, and asked for its own methods.
Needs torch; knows no network by name.
"""

from __future__ import annotations

import math
from typing import cast

from torch import Tensor, nn


class _Part(nn.Module):
    """Holds some of a network's modules and parameters, shared with it."""

    def __init__(self, network: nn.Module, holds: str = "") -> None:
        super().__init__()
        # In a tuple, for an attribute would make all of the network a part of this one.
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
    """From pictures (N, 3, H, W) to tokens (N, T, D): patches, class and register tokens, positions, the norm before the blocks."""

    def forward(self, x: Tensor) -> Tensor:
        network = self.network
        tokens = network._pos_embed(network.patch_embed(x))  # type: ignore[operator]
        if isinstance(tokens, tuple):
            # EVA gives the rotary embedding beside the tokens; each of its blocks asks for it anew (`RopeBlock`).
            return cast(Tensor, network.norm_pre(tokens[0]))  # type: ignore[operator]
        return cast(Tensor, network.norm_pre(network.patch_drop(tokens)))  # type: ignore[operator]


class RopeBlock(nn.Module):
    """One block whose attention is told where its tokens lie: (N, T, D) to (N, T, D).

    The picture is a square, so the number of tokens says the shape of the grid.
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
    """All of the network up to its last features, as it does it itself."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.network.forward_features(x))  # type: ignore[operator]


class Pool(_Part):
    """From the last features to the embedding (N, D), as the network does it itself: pooling of any kind, norms, hidden layers."""

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.network.forward_head(x, pre_logits=True))  # type: ignore[operator]


class Whole(_Part):
    """Pictures (N, 3, H, W) to the embedding as a map of one position, (N, D, 1, 1): where the features are more than one tensor."""

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
    """The adapter that `path` names, holding what stands after its colon.

    Raises:
        KeyError: there is no such adapter.
    """
    name, _, argument = path.partition(":")
    return ADAPTERS[name](network, argument)
