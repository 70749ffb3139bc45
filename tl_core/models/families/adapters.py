"""Adapters: steps of a network's own forward function that are no modules of it, as small modules with names. Needs torch.

A row in the table of families names an adapter with an @ in a stage or in the tail. Each class is given the library's network
and shares the parameters that it uses. Adapters behave the same in training and evaluation and do not change their input.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from tl_core.errors import UnknownName
from tl_core.models.families import adapters_timm


class Flatten(nn.Module):
    """(N, K, 1, 1) to (N, K)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


class Mean(nn.Module):
    """The mean of each channel over all positions: (N, K, h, w) to (N, K)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Relu(nn.Module):
    """ReLU: negative values become zero. DenseNet's last step before pooling."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.relu()


class TransformInput(nn.Module):
    """GoogLeNet's and Inception's `_transform_input`: from ImageNet's mean and deviation to 0.5 and 0.5, (N, 3, H, W).

    Their weights were trained in TensorFlow with 0.5 and 0.5, but the published transforms normalise by ImageNet's values. Without
    this step the pretrained weights would see shifted colours.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        mean, std = torch.tensor((0.485, 0.456, 0.406)), torch.tensor((0.229, 0.224, 0.225))
        # Constants and not buffers: adapters are not registered, so nothing would move buffers to the device.
        self._scale = tuple((std / 0.5).tolist())
        self._shift = tuple(((mean - 0.5) / 0.5).tolist())

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.tensor(self._scale, dtype=x.dtype, device=x.device).view(-1, 1, 1)
        shift = torch.tensor(self._shift, dtype=x.dtype, device=x.device).view(-1, 1, 1)
        return x * scale + shift


class VitTokens(nn.Module):
    """Patches to tokens in torchvision's ViT: (N, D, h, w) to (N, 1 + h*w, D), class token first, position embeddings added."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.class_token = cast(nn.Parameter, network.class_token)
        self.pos_embedding = cast(nn.Parameter, network.get_submodule("encoder").pos_embedding)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        return torch.cat([self.class_token.expand(x.shape[0], -1, -1), tokens], dim=1) + self.pos_embedding


class ClassToken(nn.Module):
    """The first token: (N, T, D) to (N, D)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


ADAPTERS: dict[str, type[nn.Module]] = {
    "@flatten": Flatten,
    "@mean": Mean,
    "@relu": Relu,
    "@transform_input": TransformInput,
    "@vit_tokens": VitTokens,
    "@class_token": ClassToken,
}


def part(network: nn.Module, path: str) -> nn.Module:
    """The module of the library's `network` at `path`, or the adapter of that name.

    Raises:
        UnknownName: there is no such adapter.
        AttributeError: there is no such module.
    """
    if not path.startswith("@"):
        return network.get_submodule(path)
    if path.partition(":")[0] in adapters_timm.ADAPTERS:
        return adapters_timm.part(network, path)
    if path not in ADAPTERS:
        raise UnknownName.among("adapter", path, ADAPTERS)
    return ADAPTERS[path](network)
