"""fastai as its own introduction uses it: image loaders from folders, its augmentation, `fine_tune`.

python -m benchmarks.speed.rivals.fastai_learner SPLIT OUT --epochs 3
"""

import argparse
import os
import time
from pathlib import Path

import torch
from fastai.callback import progress, schedule  # noqa: F401 - they give a learner no_bar and fine_tune
from fastai.callback.core import Callback
from fastai.data.transforms import Normalize, get_image_files
from fastai.metrics import accuracy
from fastai.torch_core import set_seed
from fastai.vision.augment import Resize, aug_transforms
from fastai.vision.data import ImageDataLoaders
from fastai.vision.learner import vision_learner

from benchmarks.speed.rivals.lite0 import MEAN, NAME, SIZE, STD, lite0, tell


class Clock(Callback):
    """Seconds of each epoch, validation included."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def before_epoch(self) -> None:
        self._started = time.perf_counter()

    def after_epoch(self) -> None:
        self.seconds.append(time.perf_counter() - self._started)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("split", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    set_seed(options.seed)
    loaders = ImageDataLoaders.from_folder(
        options.split,
        train="train",
        valid="val",
        item_tfms=Resize(SIZE),
        batch_tfms=[*aug_transforms(), Normalize.from_stats(MEAN, STD)],
        bs=32,
        num_workers=len(os.sched_getaffinity(0)),
    )
    clock = Clock()
    learner = vision_learner(loaders, NAME, pretrained=False, normalize=False, metrics=accuracy, cbs=clock)
    body = learner.model[0].model
    missing, _ = body.load_state_dict(lite0(len(loaders.vocab)).state_dict(), strict=False)
    if missing:
        raise RuntimeError(f"The weights lack {missing}.")
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(options.epochs)
    # The first epoch trained the head alone; judging below counts as epochs, too.
    epochs = clock.seconds[1:]
    files = get_image_files(options.split / "test")
    test = loaders.test_dl(files, with_labels=True)
    with learner.no_bar(), torch.no_grad():
        probabilities, _ = learner.get_preds(dl=test)
    truth = [list(loaders.vocab).index(file.parent.name) for file in files]
    right = sum(int(row.argmax()) == label for row, label in zip(probabilities, truth, strict=True))
    learner.export(options.out.absolute())
    tell(
        accuracy=right / len(files),
        images=len(files),
        epoch_seconds=epochs,
        learned_from=len(loaders.train_ds),
    )


if __name__ == "__main__":
    main()
