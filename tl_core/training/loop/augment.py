"""Augmentation: random changes to the training images of a batch, different for each image. Needs torch.

One affine warp, one colour change and, at the strongest level, one hidden patch. Images are not flipped, since a mirrored digit,
letter, hand or road sign means something else.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from tl_core.documents.options import Level
from tl_core.table import covering
from tl_core.training.device import to_device

VERSION = 1
"""Part of the key of kept views. Raise it whenever the levels change."""


@dataclass(frozen=True, kw_only=True)
class Ranges:
    """How far an image may be changed; each value but the last is drawn uniformly from minus to plus its range."""

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
    """Share of the images in which a patch is replaced by the mean colour (random erasing, arXiv 1708.04896)."""


PATCH = (0.04, 0.2)
"""Smallest and largest share of the image that a patch hides."""
ASPECT = 2.0
"""Largest ratio of a patch's sides."""
_DRAWS = 12
"""Random numbers that the changes of one image need."""

LEVELS: Mapping[Level, Ranges | None] = covering(
    "levels of augmentation",
    get_args(Level),
    {
        "none": None,
        "light": Ranges(rotation=10, zoom=0.12, shift=0.06, brightness=0.08, contrast=0.15, saturation=0.15),
        "medium": Ranges(rotation=15, zoom=0.2, shift=0.09, brightness=0.14, contrast=0.25, saturation=0.25),
        "strong": Ranges(rotation=20, zoom=0.3, shift=0.12, brightness=0.2, contrast=0.4, saturation=0.4, hidden=0.5),
    },
)
"""Ranges of each level. A new level is a name in `documents.options.Level` and a row here."""


def augment(images: Tensor, level: Level, generator: torch.Generator) -> Tensor:
    """Changed copies of `images` uint8 (N, H, W, 3), as float32 (N, H, W, 3) from 0 to 255, on the same device.

    `generator` is a CPU generator, so that the same numbers are drawn for every device. Beyond its edge the image is mirrored.
    """
    return _changed(images, level, torch.rand(len(images), _DRAWS, generator=generator))


def view(images: Tensor, level: Level, *, number: int, seed: int, rows: Sequence[int]) -> Tensor:
    """Copy `number` of each of `images` uint8 (N, H, W, 3), changed as by `augment`; copy 0 is the image itself.

    A copy depends only on `seed`, `number` and the image's own number in `rows`, and not on the other images of the batch, so
    that copies can be kept and found again.
    """
    if number == 0:
        return images.float()
    draw = np.stack([np.random.default_rng([seed, number, row]).random(_DRAWS, dtype=np.float32) for row in rows])
    return _changed(images, level, torch.from_numpy(draw))


def _changed(images: Tensor, level: Level, draw: Tensor) -> Tensor:
    """The changed images; `draw` (N, 12) are numbers from 0 to 1 on the CPU."""
    pictures = images.float()
    ranges = LEVELS[level]
    if ranges is None or len(images) == 0:
        return pictures
    centred = draw * 2 - 1
    changed = _warp(pictures.permute(0, 3, 1, 2), centred[:, :4], ranges)
    drawn = to_device(torch.cat([centred[:, 4:7], draw[:, 7:]], dim=1), images.device)
    changed = _recolour(changed, drawn[:, :3], ranges)
    if ranges.hidden:
        changed = _hide(changed, drawn[:, 3:], ranges)
    return changed.permute(0, 2, 3, 1)


def _warp(pictures: Tensor, draw: Tensor, ranges: Ranges) -> Tensor:
    angle = draw[:, 0] * math.radians(ranges.rotation)
    factor = torch.exp(draw[:, 1] * ranges.zoom)
    cosine, sine = torch.cos(angle) * factor, torch.sin(angle) * factor
    # The grid's coordinates go from -1 to 1, so a shift is twice the fraction of the side.
    right, down = 2 * ranges.shift * draw[:, 2], 2 * ranges.shift * draw[:, 3]
    matrix = torch.stack([torch.stack([cosine, -sine, right], 1), torch.stack([sine, cosine, down], 1)], 1)
    # On Metal, grid_sample cannot mirror.
    place = torch.device("cpu") if pictures.device.type == "mps" else pictures.device
    grid = functional.affine_grid(to_device(matrix, place), list(pictures.shape), align_corners=False)
    warped = functional.grid_sample(
        pictures.to(place), grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return warped.to(pictures.device)


def _hide(pictures: Tensor, draw: Tensor, ranges: Ranges) -> Tensor:
    """`draw` in [0, 1): whether there is a patch, its area, its aspect ratio, and the two coordinates of its centre."""
    height, width = pictures.shape[2:]
    area = PATCH[0] + (PATCH[1] - PATCH[0]) * draw[:, 1]
    oblong = torch.exp((draw[:, 2] * 2 - 1) * math.log(ASPECT) / 2)
    half_down, half_right = torch.sqrt(area) * oblong / 2, torch.sqrt(area) / oblong / 2
    down, right = (half + (1 - 2 * half) * draw[:, i] for half, i in ((half_down, 3), (half_right, 4)))
    rows = (torch.arange(height, device=draw.device) + 0.5) / height - down[:, None]
    columns = (torch.arange(width, device=draw.device) + 0.5) / width - right[:, None]
    patch = (rows.abs() < half_down[:, None])[:, :, None] & (columns.abs() < half_right[:, None])[:, None, :]
    patch &= (draw[:, 0] < ranges.hidden)[:, None, None]
    return torch.where(patch[:, None], pictures.mean(dim=(2, 3), keepdim=True), pictures)


def _recolour(pictures: Tensor, draw: Tensor, ranges: Ranges) -> Tensor:
    brightness, contrast, saturation = (draw[:, column].view(-1, 1, 1, 1) for column in range(3))
    grey = pictures.mean(dim=1, keepdim=True)
    pictures = grey + (pictures - grey) * torch.exp(saturation * ranges.saturation)
    mean = pictures.mean(dim=(1, 2, 3), keepdim=True)
    pictures = mean + (pictures - mean) * torch.exp(contrast * ranges.contrast)
    return (pictures + brightness * ranges.brightness * 255).clamp(0, 255)
