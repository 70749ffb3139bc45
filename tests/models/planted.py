"""Pictures whose class a planted patch decides, and small networks that have learned so."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tests.models import table
from tl_core.models.build import Backbone, build
from tl_core.models.registry import Network
from tl_core.models.weights.obtain import find

PATCHES = 3
"""Classes that a patch decides; the last class has none, so that none of them can be told by what is missing."""
CLASSES = PATCHES + 1
_COLOURS = np.array([[255, 60, 60], [60, 255, 60], [60, 60, 255]])


class Planted:
    """Pictures uint8 (N, S, S, 3) of noise, with a patch of `side` pixels whose colour and texture are those of the class."""

    def __init__(self, count: int, size: int, side: int, seed: int, *, classes: int = CLASSES) -> None:
        generator = np.random.default_rng(seed)
        coarse = generator.normal(0, 30, (count, size // 8, size // 8, 3)).repeat(8, 1).repeat(8, 2)
        coarse = np.pad(coarse, ((0, 0), (0, size % 8), (0, size % 8), (0, 0)), mode="edge")
        images = 128 + coarse + generator.normal(0, 25, (count, size, size, 3))
        self.labels = generator.permutation(np.arange(count) % classes)
        self.corners = generator.integers(0, size - side + 1, (count, 2))
        """Row and column of each patch's upper left corner."""
        self.side = side
        row, column = np.mgrid[:side, :side] // 4
        textures = np.stack([row % 2, column % 2, (row + column) % 2])[..., None]
        for image, label, (top, left) in zip(images, self.labels, self.corners, strict=True):
            if label < PATCHES:
                image[top : top + side, left : left + side] = np.where(textures[label] > 0, _COLOURS[label], 20)
        self.pixels: NDArray[np.uint8] = images.clip(0, 255).astype(np.uint8)

    def held(self, number: int, x: float, y: float) -> bool:
        """Whether the place `x`, `y`, fractions of the width and height, lies in the patch of picture `number`."""
        size = self.pixels.shape[1]
        top, left = self.corners[number]
        return bool(top <= y * size < top + self.side and left <= x * size < left + self.side)


def shallow(row: Network, size: int, *, repeats: int = 1) -> Backbone:
    """`row` for pictures of `size` pixels and `CLASSES` classes; of blocks that are alike only the first `repeats` work."""
    return _quick_statistics(table.make_shallow(row, size=size, classes=CLASSES, repeats=repeats))


def packaged(row: Network) -> Backbone:
    """The whole network `row` with the default weights, which a Python package brings, and a new head for `CLASSES` classes."""
    file = find(row)
    assert file is not None
    return _quick_statistics(build(row, weights=row.default_weights, weights_file=file.path, classes=CLASSES))


def _quick_statistics(backbone: Backbone) -> Backbone:
    for part in backbone.modules():
        if isinstance(part, nn.BatchNorm2d):
            # Statistics over the last few of a hundred steps, where the libraries average over thousands.
            part.momentum = 0.1
    return backbone.eval()


def teach(
    backbone: Backbone, size: int, side: int, *, rate: float, most: int, report: Callable[[str], None] = str
) -> float:
    """Train all of `backbone` until the mean loss on new pictures is below 0.01, or for `most` steps. Returns the accuracy on them."""
    new = Planted(60, size, side, seed=999)
    images, labels = backbone.normalise(torch.from_numpy(new.pixels)), torch.from_numpy(new.labels)
    steps = torch.optim.AdamW(backbone.parameters(), rate)
    right = 0.0
    for step in range(1, most + 1):
        batch = Planted(16, size, side, seed=step)
        backbone.train()
        steps.zero_grad()
        given = backbone(backbone.normalise(torch.from_numpy(batch.pixels)))
        nn.functional.cross_entropy(given, torch.from_numpy(batch.labels)).backward()
        nn.utils.clip_grad_norm_(backbone.parameters(), 1.0)
        steps.step()
        if step % 20 == 0:
            backbone.eval()
            with torch.no_grad():
                answers = backbone(images)
            loss = float(nn.functional.cross_entropy(answers, labels))
            right = float((answers.argmax(1) == labels).float().mean())
            report(f"step {step}: loss {loss:.4f}, right {right:.2f}")
            if loss < 0.01:
                break
    backbone.eval()
    return right
