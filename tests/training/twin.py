"""A small network in stages, and pictures that it can learn, so that training is tested in seconds."""

from collections import OrderedDict
from collections.abc import Generator
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from tests.conftest import picture
from tl_core.documents.events import EpochEnded, Event, Notice
from tl_core.documents.options import Recipe
from tl_core.documents.spec import TrainSpec
from tl_core.models.build import Backbone
from tl_core.models.families.family import FLATTEN, Family, Stage
from tl_core.models.registry import network

SIZE = 32
FAMILY = Family(
    name="twin",
    source="torchvision",
    stages=(Stage(name="stem", modules=("stem",)), Stage(name="stage1", modules=("block",))),
    tail=("pool", FLATTEN),
    head="head",
    linear_on_pooled=True,
)


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


def twin(classes: int = 3, seed: int = 0) -> Backbone:
    """A Backbone with two stages; `FAMILIES` must hold `FAMILY` under its name."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = OrderedDict(stem=_block(3, 8), block=_block(8, 16), pool=nn.AdaptiveAvgPool2d(1))
        module = nn.Sequential(OrderedDict(**layers, head=nn.Linear(16, classes)))
    row = network("resnet18").model_copy(update={"name": "twin", "family": "twin", "head": "head"})
    return Backbone(row, module, row.weights_row()).eval()


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


def by_torch(pixels: np.ndarray) -> np.ndarray:
    """What the first stage of the twin gives for `pixels`."""
    backbone = twin()
    with torch.inference_mode():
        return np.asarray(backbone.prefix(1)(backbone.normalise(torch.from_numpy(pixels))).numpy())


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


def smaller_batches(events: list[Event]) -> list[int]:
    """The micro-batches to which training went down, in order, when memory ran out."""
    notices = [event.message for event in events if isinstance(event, Notice) and "memory ran out" in event.message]
    return [int(message.split("with ")[1].split(" ")[0]) for message in notices]
