"""What each level of augmentation does to some images of a data set, as files to look at. Needs torch."""

from collections.abc import Generator
from typing import get_args

import numpy as np
import torch
from PIL import Image

from tl_core.data.pace import Pace
from tl_core.documents.events import Event
from tl_core.documents.options import Level
from tl_core.documents.tasks import PreviewSpec
from tl_core.runs.store.folders import TaskFolder
from tl_core.runs.tasks.subject import picture_of
from tl_core.training.loop.augment import augment

INTERPOLATION = "bilinear"
QUALITY = 90
"""Quality of the JPEG files."""


def answer(task: TaskFolder) -> Generator[Event, None, None]:
    """Write `LEVEL-ROW-COPY.jpg` to the task's folder for every level, each row, and copies from 0 up.

    The copies are drawn in one batch, as in a training step; the same task gives the same copies. With the level `none`, all copies are the
    image itself.

    Raises:
        NotFound: the data set has no such row.
        DataError: an image of the data set is missing or damaged.
    """
    spec = task.spec_as(PreviewSpec)
    pictures = np.stack([picture_of(spec, row, spec.image_size, INTERPOLATION) for row in spec.rows])
    levels: tuple[Level, ...] = get_args(Level)
    pace = Pace("preparing", len(levels) * len(spec.rows) * spec.copies)
    batch = torch.from_numpy(np.repeat(pictures, spec.copies, axis=0))
    for number, level in enumerate(levels, start=1):
        changed = augment(batch, level, torch.Generator().manual_seed(number)).round().to(torch.uint8).numpy()
        for index, copy in enumerate(changed):
            name = f"{level}-{spec.rows[index // spec.copies]}-{index % spec.copies}.jpg"
            Image.fromarray(copy).save(task.path / name, quality=QUALITY)
        yield from pace.at(number * len(batch))
