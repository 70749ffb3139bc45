"""A small network with everything that a strategy may single out: convolutions, norms of two kinds, attention, linear layers."""

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.training.twin import SIZE, pictures
from tl_core.models.build import Backbone
from tl_core.models.families.family import FLATTEN, Family, Stage
from tl_core.models.registry import FAMILIES, network
from tl_core.training.loop.inputs import Inputs

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


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


@pytest.fixture
def tower_family(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The tower's family in the table; one thread, for so small a network gains nothing from more."""
    monkeypatch.setitem(FAMILIES, FAMILY.name, FAMILY)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tower(classes: int = 3, seed: int = 0) -> Backbone:
    """A Backbone with three stages; needs `tower_family`."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = nn.Sequential(
            OrderedDict(
                stem=_block(3, 8),
                conv=_block(8, WIDTH),
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
    pixels, _ = pictures()
    backbone.to(device)
    found = Inputs.of_pixels(backbone, pixels, frozen=frozen, device=torch.device(device), level="none")
    if frozen == 0:
        return found
    return Inputs.of_activations(found.batch(np.arange(len(pixels))).cpu().numpy(), device=found.device)
