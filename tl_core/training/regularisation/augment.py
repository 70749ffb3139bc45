"""Random changes to training pictures, on a whole batch at once, with parameters of its own for each picture.

One affine warp, one colour change and, at the strongest level, one hidden patch, all batched on the tensor. No flips: a
mirrored digit, letter, hand or road sign is another one, and who shows these pictures cannot say beforehand that theirs
are none of those. Knows no network and no labels. Needs torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tl_core.documents.options import Level

VERSION = 1
"""Of what the levels do: raise it with every change, for views that are kept name it."""


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """How far a picture may be changed; each value but the last is drawn evenly from minus to plus its range."""

    rotation: float
    """Degrees."""
    zoom: float
    """Factor exp(+-zoom)."""
    shift: float
    """Fraction of the side."""
    brightness: float
    """Fraction of full white that is added."""
    contrast: float
    """Factor exp(+-contrast) around the picture's mean."""
    saturation: float
    """Factor exp(+-saturation) around the picture's grey."""
    hidden: float = 0.0
    """Share of the pictures in which a patch is painted over with the mean colour (random erasing, arXiv 1708.04896)."""


PATCH = (0.04, 0.2)
"""Smallest and largest share of the picture that a patch hides."""
ASPECT = 2.0
"""Largest ratio of a patch's sides."""
_DRAWS = 12
"""Numbers that one picture's changes need."""

LEVELS: dict[Level, Ranges | None] = {
    "none": None,
    "light": Ranges(rotation=10, zoom=0.12, shift=0.06, brightness=0.08, contrast=0.15, saturation=0.15),
    "medium": Ranges(rotation=15, zoom=0.2, shift=0.09, brightness=0.14, contrast=0.25, saturation=0.25),
    "strong": Ranges(rotation=20, zoom=0.3, shift=0.12, brightness=0.2, contrast=0.4, saturation=0.4, hidden=0.5),
}
"""Ranges of each level. A new level is a name in `documents.options.Level` and a row here."""

if LEVELS.keys() != set(get_args(Level)):
    raise ValueError(f"The levels are {', '.join(LEVELS)}; the options name {', '.join(get_args(Level))}.")


def augment(images: Tensor, level: Level, generator: torch.Generator) -> Tensor:
    """Changed copies of `images` uint8 (N, H, W, 3), as float32 (N, H, W, 3) from 0 to 255, on the same device.

    `generator` is a CPU generator, so that every device draws the same numbers. What the warp uncovers mirrors the edge.
    """
    return _changed(images, level, torch.rand(len(images), _DRAWS, generator=generator))


def view(images: Tensor, level: Level, *, number: int, seed: int, rows: Sequence[int]) -> Tensor:
    """The copy `number` of each picture of `images` uint8 (N, H, W, 3), changed as `augment` does; 0 is the picture itself.

    What a copy looks like depends on `seed`, `number` and the picture's own number in `rows` alone, whichever others are
    in the batch, so that copies can be kept and known again.
    """
    if number == 0:
        return images.float()
    draw = np.stack([np.random.default_rng([seed, number, row]).random(_DRAWS, dtype=np.float32) for row in rows])
    return _changed(images, level, torch.from_numpy(draw))


def _changed(images: Tensor, level: Level, draw: Tensor) -> Tensor:
    """`draw` (N, 12) from 0 to 1, on the CPU."""
    pictures = images.float()
    ranges = LEVELS[level]
    if ranges is None or len(images) == 0:
        return pictures
    centred = draw * 2 - 1
    changed = _warp(pictures.permute(0, 3, 1, 2), centred[:, :4], ranges)
    changed = _recolour(changed, centred[:, 4:7].to(images.device), ranges)
    if ranges.hidden:
        changed = _hide(changed, draw[:, 7:], ranges)
    return changed.permute(0, 2, 3, 1)


def _warp(pictures: Tensor, draw: Tensor, ranges: Ranges) -> Tensor:
    angle = draw[:, 0] * math.radians(ranges.rotation)
    factor = torch.exp(draw[:, 1] * ranges.zoom)
    cosine, sine = torch.cos(angle) * factor, torch.sin(angle) * factor
    # The grid's coordinates run from -1 to 1: a shift by a fraction of the side is twice that.
    right, down = 2 * ranges.shift * draw[:, 2], 2 * ranges.shift * draw[:, 3]
    matrix = torch.stack([torch.stack([cosine, -sine, right], 1), torch.stack([sine, cosine, down], 1)], 1)
    # Metal has no mirroring grid_sample.
    place = torch.device("cpu") if pictures.device.type == "mps" else pictures.device
    grid = functional.affine_grid(matrix.to(place), list(pictures.shape), align_corners=False)
    warped = functional.grid_sample(
        pictures.to(place), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return warped.to(pictures.device)


def _hide(pictures: Tensor, draw: Tensor, ranges: Ranges) -> Tensor:
    """`draw` in [0, 1): whether, how large, how oblong, and where the patch's middle lies."""
    height, width = pictures.shape[2:]
    area = PATCH[0] + (PATCH[1] - PATCH[0]) * draw[:, 1]
    oblong = torch.exp((draw[:, 2] * 2 - 1) * math.log(ASPECT) / 2)
    half_down, half_right = torch.sqrt(area) * oblong / 2, torch.sqrt(area) / oblong / 2
    down, right = (half + (1 - 2 * half) * draw[:, i] for half, i in ((half_down, 3), (half_right, 4)))
    rows = (torch.arange(height) + 0.5) / height - down[:, None]
    columns = (torch.arange(width) + 0.5) / width - right[:, None]
    patch = (rows.abs() < half_down[:, None])[:, :, None] & (columns.abs() < half_right[:, None])[:, None, :]
    patch &= (draw[:, 0] < ranges.hidden)[:, None, None]
    return torch.where(patch[:, None].to(pictures.device), pictures.mean(dim=(2, 3), keepdim=True), pictures)


def _recolour(pictures: Tensor, draw: Tensor, ranges: Ranges) -> Tensor:
    brightness, contrast, saturation = (draw[:, column].view(-1, 1, 1, 1) for column in range(3))
    grey = pictures.mean(dim=1, keepdim=True)
    pictures = grey + (pictures - grey) * torch.exp(saturation * ranges.saturation)
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    pictures = mean + (pictures - mean) * torch.exp(contrast * ranges.contrast)
    return (pictures + brightness * ranges.brightness * 255).clamp(0, 255)
