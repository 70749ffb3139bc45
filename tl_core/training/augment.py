"""Random changes to training pictures, on a whole batch at once, with parameters of its own for each picture.

One affine warp and one colour change, both batched on the tensor. No flips: a mirrored digit or letter is another one.
Knows no network and no labels. Needs torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from tl_core.documents.recipe import Level


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """How far a picture may be changed; each value is drawn evenly from minus to plus its range."""

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


LEVELS: dict[Level, Ranges | None] = {
    "none": None,
    "light": Ranges(rotation=10, zoom=0.12, shift=0.06, brightness=0.08, contrast=0.15, saturation=0.15),
    "medium": Ranges(rotation=15, zoom=0.2, shift=0.09, brightness=0.14, contrast=0.25, saturation=0.25),
    "strong": Ranges(rotation=20, zoom=0.3, shift=0.12, brightness=0.2, contrast=0.4, saturation=0.4),
}


def augment(images: Tensor, level: Level, generator: torch.Generator) -> Tensor:
    """Changed copies of `images` uint8 (N, H, W, 3), as float32 (N, H, W, 3) from 0 to 255, on the same device.

    `generator` is a CPU generator, so that every device draws the same numbers. What the warp uncovers mirrors the edge.
    """
    pictures = images.float()
    ranges = LEVELS[level]
    if ranges is None or len(images) == 0:
        return pictures
    draw = torch.rand(len(images), 7, generator=generator) * 2 - 1
    warped = _warp(pictures.permute(0, 3, 1, 2), draw[:, :4], ranges)
    return _recolour(warped, draw[:, 4:].to(images.device), ranges).permute(0, 2, 3, 1)


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


def _recolour(pictures: Tensor, draw: Tensor, ranges: Ranges) -> Tensor:
    brightness, contrast, saturation = (draw[:, column].view(-1, 1, 1, 1) for column in range(3))
    grey = pictures.mean(dim=1, keepdim=True)
    pictures = grey + (pictures - grey) * torch.exp(saturation * ranges.saturation)
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    pictures = mean + (pictures - mean) * torch.exp(contrast * ranges.contrast)
    return (pictures + brightness * ranges.brightness * 255).clamp(0, 255)
