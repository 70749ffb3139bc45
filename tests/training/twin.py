"""A small network in stages, pictures that it can learn, and training on them, so that it is tested in seconds."""

from collections import OrderedDict
from collections.abc import Generator
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.conftest import picture
from tl_core.documents.events import EpochEnded, Event, Notice
from tl_core.documents.options import Level, Recipe
from tl_core.documents.spec import TrainSpec
from tl_core.models.build import Backbone
from tl_core.models.families.family import FLATTEN, Family, Stage
from tl_core.models.registry import network
from tl_core.training.loop.fit import fit
from tl_core.training.loop.inputs import Inputs
from tl_core.training.loop.steps import Running, Trainer
from tl_core.training.strategies.strategies import strategy

SIZE = 32
TRAIN, VAL = np.arange(54), np.arange(54, 72)
"""Rows of `pictures()` that training learns from, and those that choose its best epoch."""
FAMILY = Family(
    name="twin",
    source="torchvision",
    stages=(Stage(name="stem", modules=("stem",)), Stage(name="stage1", modules=("block",))),
    tail=("pool", FLATTEN),
    head="head",
    linear_on_pooled=True,
)


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


def twin(classes: int = 3, seed: int = 0) -> Backbone:
    """A Backbone with two stages."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = OrderedDict(stem=block(3, 8), block=block(8, 16), pool=nn.AdaptiveAvgPool2d(1))
        module = nn.Sequential(OrderedDict(**layers, head=nn.Linear(16, classes)))
    row = network("resnet18").model_copy(update={"name": "twin", "family": "twin", "head": "head"})
    return Backbone(row, module, row.weights_row()).eval()


@cache
def pictures(per_class: int = 24, classes: int = 3) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """uint8 (N, 32, 32, 3) and their labels, one after the other from each class."""
    labels = np.tile(np.arange(classes), per_class)
    rows = [np.asarray(picture(label, index, (SIZE, SIZE))) for index, label in enumerate(labels.tolist())]
    return np.stack(rows), labels


def spec(*, recipe: dict[str, object] | None = None, **changed: object) -> TrainSpec:
    values: dict[str, object] = {
        "name": "test",
        "workspace": "0" * 32,
        "dataset": "d",
        "weights": "none",
        "image_size": SIZE,
        "epochs": 3,
        "batch_size": 16,
        "micro_batch": 16,
        "device": "cpu",
        **changed,
    }
    values["recipe"] = Recipe().changed(recipe or {})
    return TrainSpec.model_validate(values)


def on_pixels(backbone: Backbone, *, frozen: int = 0, device: str = "cpu", level: Level = "none") -> Inputs:
    """`pictures()` as a training of `backbone` reads them."""
    return Inputs.of_pixels(backbone, pictures()[0], frozen=frozen, device=torch.device(device), level=level)


def trainer_of(
    backbone: Backbone, inputs: Inputs, plan: TrainSpec, name: str, *, frozen: int = 0, **more: Any
) -> Trainer:
    """What takes the steps of a training by the strategy `name` on `pictures()`."""
    return Trainer(backbone, inputs, pictures()[1], spec=plan, strategy=strategy(name), frozen=frozen, **more)


def one_step(trainer: Trainer, number: int = 0) -> Running:
    """A step on the first 16 pictures: what it counted."""
    running = Running()
    finish(trainer.step(np.arange(16), 1.0, draw=[0, number], running=running))
    return running


def train(
    backbone: Backbone,
    inputs: Inputs,
    plan: TrainSpec,
    name: str,
    *,
    rows: NDArray[np.int64] = TRAIN,
    labels: NDArray[np.int64] | None = None,
    frozen: int = 0,
    **more: Any,
) -> list[Event]:
    """All events of a training by the strategy `name` on `pictures()`, with other labels where some are given."""
    truth = pictures()[1] if labels is None else labels
    return list(fit(backbone, inputs, truth, rows, VAL, spec=plan, strategy=strategy(name), frozen=frozen, **more))


def logits(backbone: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """The answers of `backbone` to `pixels`, by torch."""
    with torch.inference_mode():
        return np.asarray(backbone(backbone.normalise(torch.from_numpy(pixels))).numpy())


def embedded(backbone: Backbone, pixels: np.ndarray) -> np.ndarray:
    """The pooled features of `pixels`, by torch."""
    with torch.inference_mode():
        return np.asarray(backbone.embed(backbone.normalise(torch.from_numpy(pixels))).numpy())


def by_torch(pixels: np.ndarray) -> np.ndarray:
    """What the first stage of the twin gives for `pixels`."""
    backbone = twin()
    with torch.inference_mode():
        return np.asarray(backbone.prefix(1)(backbone.normalise(torch.from_numpy(pixels))).numpy())


def little_memory(module: nn.Module, most: int) -> list[int]:
    """The sizes of all batches that `module` is given from now on; more than `most` images do not fit the memory."""
    sizes: list[int] = []

    def refuse(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes.append(len(inputs[0]))
        if len(inputs[0]) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    module.register_forward_pre_hook(refuse)
    return sizes


Result = TypeVar("Result")


def finish(generator: Generator[Event, None, Result]) -> tuple[Result, list[Event]]:
    """The generator's result and all events that it yielded."""
    events: list[Event] = []
    while True:
        try:
            events.append(next(generator))
        except StopIteration as stop:
            return stop.value, events


def best_of(events: list[Event]) -> EpochEnded:
    """The epoch whose state the run keeps."""
    return [event for event in events if isinstance(event, EpochEnded) and event.best][-1]


def losses(events: list[Event]) -> list[float]:
    """The validation loss after each epoch."""
    return [event.val_loss for event in events if isinstance(event, EpochEnded)]


def smaller_batches(events: list[Event]) -> list[int]:
    """The micro-batches to which training went down, in order, when memory ran out."""
    notices = [event.message for event in events if isinstance(event, Notice) and "memory ran out" in event.message]
    return [int(message.split("with ")[1].split(" ")[0]) for message in notices]
