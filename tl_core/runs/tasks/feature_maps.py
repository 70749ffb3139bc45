"""What a backbone sees: the filters of its first layer, and where its stages respond to one picture of a data set. Without torch.

The filters are read from the exported backbone's tensors, the stages' outputs are computed by its graph; the memory layout
of an output is read from its shape.
"""

import math
import re
from collections.abc import Generator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tl_core.data.cache import Cache
from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.documents.tasks import FeatureMap, FeatureMaps, FeatureMapsSpec
from tl_core.hardware import cores
from tl_core.models.graphs.edit import stage_name
from tl_core.models.graphs.export import TENSORS_NAME, exported_backbone
from tl_core.models.registry import network
from tl_core.runs.store.folders import TaskFolder
from tl_core.runs.store.store import Store
from tl_core.runs.tasks.subject import picture_of
from tl_core.training.frozen.onnx_runtime import cut_graph, open_session

MOST_FILTERS = 64
MOST_MAPS = 8
"""Feature maps that are written of one stage."""
SIDE = 168
"""Smallest side of a map's file, pixels."""
FILTER_SIDE = 40
"""Smallest side of one filter in the picture of all filters, pixels."""
GAP = 2
"""Pixels between filters."""


def answer(task: TaskFolder) -> Generator[Event, None, FeatureMaps]:
    """Write the filters and feature maps into the task's folder, and name them.

    Raises:
        DataError: the picture is missing or damaged.
    """
    spec, cache = task.spec_as(FeatureMapsSpec), Store.default().cache
    backbone = network(spec.backbone)
    weights = backbone.weights_row(spec.weights)
    picture = picture_of(spec, spec.row, spec.image_size, weights.interpolation)
    exported = yield from exported_backbone(backbone, weights.name, spec.image_size, cache)
    return (yield from feature_maps(exported, backbone.stages, picture, task.path, cache=cache))


def feature_maps(
    exported: Path, stages: tuple[str, ...], picture: NDArray[np.uint8], folder: Path, *, cache: Cache
) -> Generator[Event, None, FeatureMaps]:
    """Write filters and feature maps to `folder`, and return what was written.

    `exported` is the folder that `exported_backbone` gave, by the cache's own path of it, because its name is part of a key; `stages` are the names of
    the network's stages; `picture` is uint8 (S, S, 3) of the size that the backbone was exported for.

    Raises:
        ModelError: the graph lacks a stage.
        DiskFull: no space is left for the graph.
    """
    yield StageStarted(stage="features", title="Looking through the network's eyes")
    Image.fromarray(picture).save(folder / "picture.png")
    filters = first_filters(exported / TENSORS_NAME)
    if filters is None:
        yield Notice(message="The first layer of this network is no convolution, so it has no filters to look at.")
    else:
        Image.fromarray(filter_grid(filters)).save(folder / "filters.png")
    return FeatureMaps(
        picture="picture.png",
        filters=None if filters is None else "filters.png",
        filter_count=0 if filters is None else len(filters),
        filter_size=0 if filters is None else filters.shape[2],
        maps=tuple(_written_maps(exported, stages, picture, folder, cache)),
    )


def first_filters(tensors: Path) -> NDArray[np.float32] | None:
    """Filters (M, 3, k, k) of the first convolution in a safetensors file, the strongest `MOST_FILTERS`; None: there is none.

    Only the first one sees three channels: a network's later layers are wider, and depthwise ones see one channel each.
    """
    from safetensors import safe_open

    with safe_open(tensors, framework="numpy") as file:
        for name in file.keys():  # noqa: SIM118 - the reader is no mapping
            shape = file.get_slice(name).get_shape()
            if len(shape) == 4 and shape[1] == 3 and shape[2] == shape[3] > 1:
                filters = np.asarray(file.get_tensor(name), dtype=np.float32)
                strength = np.square(filters).sum(axis=(1, 2, 3))
                return filters[np.sort(np.argsort(-strength, kind="stable")[:MOST_FILTERS])]
    return None


def filter_grid(filters: NDArray[np.float32]) -> NDArray[np.uint8]:
    """One RGB picture of all `filters` (M, 3, k, k), eight in a row: grey is zero, and each uses its whole range."""
    count, _, size, _ = filters.shape
    zoom = math.ceil(FILTER_SIDE / size)
    cell, columns = size * zoom, min(8, count)
    rows = math.ceil(count / columns)
    grid = np.full((rows * (cell + GAP) - GAP, columns * (cell + GAP) - GAP, 3), 255, dtype=np.uint8)
    for number, weights in enumerate(filters):
        largest = float(np.abs(weights).max()) or 1.0
        colours = ((weights / largest + 1) * 127.5).round().astype(np.uint8).transpose(1, 2, 0)
        top, left = (number // columns) * (cell + GAP), (number % columns) * (cell + GAP)
        grid[top : top + cell, left : left + cell] = colours.repeat(zoom, axis=0).repeat(zoom, axis=1)
    return grid


def maps_of(values: NDArray[np.floating]) -> NDArray[np.float32] | None:
    """A stage's output for one picture, (1, ...), as maps (K, h, w); None where it has no positions.

    The input is a square, so two equal sides are the positions of (1, K, h, w) or (1, h, w, K). Of tokens (1, T, K) those
    before the last square number belong to no position (class and register tokens come first).
    """
    output = np.asarray(values[0], dtype=np.float32)
    if output.ndim == 3:
        return output if output.shape[1] == output.shape[2] else output.transpose(2, 0, 1)
    if output.ndim == 2:
        side = math.isqrt(output.shape[0])
        return output[len(output) - side * side :].T.reshape(output.shape[1], side, side)
    return None


def strongest(maps: NDArray[np.float32]) -> list[int]:
    """Channels of `maps` (K, h, w) that tell most places apart: those with the widest spread, outliers cut."""
    flat = maps.reshape(len(maps), -1)
    low, high = np.percentile(flat, [2, 98], axis=1, keepdims=True)
    spread = np.clip(flat, low, high).std(axis=1)
    return [int(channel) for channel in np.argsort(-spread, kind="stable")[:MOST_MAPS]]


def _written_maps(
    exported: Path, stages: tuple[str, ...], picture: NDArray[np.uint8], folder: Path, cache: Cache
) -> list[FeatureMap]:
    last = len(stages) - 1
    # The stem alone shows little but edges, and what follows it says more; with few stages there is no choice.
    chosen = sorted({min(1, last), (last + 1) // 2, last}) if last > 2 else list(range(last + 1))
    outputs = [stage_name(number) for number in chosen]
    session = open_session(cut_graph(exported, outputs, cache), threads=cores())
    written: list[FeatureMap] = []
    for number, values in zip(chosen, session.run(outputs, {"images": picture[None]}), strict=True):
        maps = maps_of(values)
        if maps is None:
            continue
        for channel in strongest(maps):
            file = f"{re.sub(r'[^A-Za-z0-9_]', '_', stages[number])}-{channel}.png"
            Image.fromarray(_grey(maps[channel])).save(folder / file)
            height, width = maps.shape[1:]
            written.append(FeatureMap(stage=stages[number], channel=channel, file=file, height=height, width=width))
    return written


def _grey(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = np.percentile(values, [2, 98])
    scaled = np.clip((values - low) / max(float(high - low), 1e-12), 0, 1)
    zoom = math.ceil(SIDE / max(values.shape))
    grey: NDArray[np.uint8] = (scaled * 255).round().astype(np.uint8)
    return grey.repeat(zoom, axis=0).repeat(zoom, axis=1)
