"""A small network with everything that a strategy may single out: convolutions, norms of two kinds, attention, linear layers."""

from collections import OrderedDict
from collections.abc import Generator

import numpy as np
import torch
from torch import Tensor, nn

from tests.training.twin import SIZE, block, on_pixels
from tl_core.documents.events import Event, Notice
from tl_core.documents.spec import TrainSpec
from tl_core.models.build import Backbone
from tl_core.models.families.family import FLATTEN, Family, Stage
from tl_core.models.registry import network
from tl_core.training.loop.inputs import Inputs
from tl_core.training.strategies.strategies import strategy
from tl_core.training.strategies.what_learns import first_learning

STAGES = ("stem", "conv", "attention")
FAMILY = Family(
    name="tower",
    source="torchvision",
    stages=tuple(Stage(name=name, modules=(name,)) for name in STAGES),
    tail=("pool", FLATTEN, "norm"),
    head="head",
    linear_on_pooled=False,
    transformer=True,
)
WIDTH = 16


class _Attention(nn.Module):
    """Attention between positions of (N, K, h, w), then a layer for each position."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.mix = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.mlp = nn.Linear(WIDTH, WIDTH)
        self.position = nn.Parameter(torch.randn(1, (SIZE // 4) ** 2, WIDTH) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2) + self.position
        normed = self.norm(tokens)
        tokens = tokens + self.mix(normed, normed, normed, need_weights=False)[0]
        tokens = tokens + torch.relu(self.mlp(tokens))
        return tokens.transpose(1, 2).reshape(x.shape)


def tower(classes: int = 3, seed: int = 0) -> Backbone:
    """A Backbone with three stages."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = nn.Sequential(
            OrderedDict(
                stem=block(3, 8),
                conv=block(8, WIDTH),
                attention=_Attention(),
                pool=nn.AdaptiveAvgPool2d(1),
                norm=nn.LayerNorm(WIDTH),
                head=nn.Linear(WIDTH, classes),
            )
        )
    changed = {"name": "tower", "family": "tower", "head": "head", "stages": STAGES}
    row = network("resnet18").model_copy(update=changed)
    return Backbone(row, module, row.weights_row()).eval()


def inputs_after(backbone: Backbone, frozen: int, device: str = "cpu") -> Inputs:
    """What the first `frozen` stages give for `pictures()`; pixels where that is none."""
    found = on_pixels(backbone.to(device), frozen=frozen, device=device)
    if frozen == 0:
        return found
    return Inputs.of_activations(found.batch(np.arange(len(found.rows))).cpu().numpy(), device=found.device)


def thaw(backbone: Backbone, frozen: int, device: str = "cpu") -> Generator[Event, None, Inputs]:
    """What training asks for where stages join."""
    yield Notice(message="asked")
    return inputs_after(backbone, frozen, device)


def frozen_at_first(backbone: Backbone, name: str, plan: TrainSpec) -> int:
    """How many stages are frozen when a training by the strategy `name` begins."""
    row = strategy(name)
    return len(STAGES) if row.thaws else first_learning(backbone, row, plan)
