"""What each level of augmentation does to some images of a data set, as files to look at. Needs torch."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from tl_core.data.pace import Pace
from tl_core.data.pixel_arrays import read_copy
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.manifest import Manifest
from tl_core.documents.options import Level
from tl_core.documents.questions.before_training import PreviewSpec
from tl_core.errors import NotFound
from tl_core.training.regularisation.augment import augment

INTERPOLATION = "bilinear"
QUALITY = 90
"""Quality of the JPEG files."""


def preview(dataset: Path, manifest: Manifest, spec: PreviewSpec, folder: Path) -> Generator[Event, None, None]:
    """Write `LEVEL-ROW-COPY.jpg` to `folder` for every level, each row of `spec`, and copies from 0 up.

    `dataset` is the data set's folder. The copies are drawn in one batch, as in a training step; the same `spec` gives the same
    copies. With the level `none`, all copies are the image itself.

    Raises:
        NotFound: the data set has no such row.
        DataError: an image of the data set is missing or damaged.
    """
    yield StageStarted(stage="preparing", title="Changing pictures at random")
    pictures = _pictures(dataset, manifest, spec)
    levels: tuple[Level, ...] = get_args(Level)
    pace = Pace("preparing", len(levels) * len(spec.rows) * spec.copies)
    batch = torch.from_numpy(np.repeat(pictures, spec.copies, axis=0))
    for number, level in enumerate(levels, start=1):
        changed = augment(batch, level, torch.Generator().manual_seed(number)).round().to(torch.uint8).numpy()
        for index, copy in enumerate(changed):
            name = f"{level}-{spec.rows[index // spec.copies]}-{index % spec.copies}.jpg"
            Image.fromarray(copy).save(folder / name, quality=QUALITY)
        yield from pace.at(number * len(batch))


def _pictures(dataset: Path, manifest: Manifest, spec: PreviewSpec) -> NDArray[np.uint8]:
    """The images of `spec` as a network sees them: uint8 (R, size, size, 3)."""
    pictures = []
    for row in spec.rows:
        if not 0 <= row < len(manifest.images):
            raise NotFound(f"There is no picture number {row} in this data set; it has {len(manifest.images)}.")
        pictures.append(read_copy(dataset, manifest.images[row], spec.image_size, INTERPOLATION))
    return np.stack(pictures)
