"""The exported graph of a network: how long an image takes in it, and how long exporting takes. Imports torch only to export."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path

import numpy as np

from tl_core.data.cache import Cache
from tl_core.documents.base import Record
from tl_core.documents.events import Event
from tl_core.documents.tasks import MeasureSpec
from tl_core.hardware import peak_resident_mb
from tl_core.models.graphs.export import ONNX_NAME, backbone_key, exported_backbone
from tl_core.models.registry import Network
from tl_core.models.weights.obtain import available
from tl_core.training.frozen.onnx_runtime import BATCH, open_session
from tl_core.training.timing import answer_key, remembered, timed


class ExportCost(Record):
    """What exporting a network takes."""

    seconds: float
    memory_mb: float
    """Peak memory of the process, megabytes; 0 where earlier work had a higher peak."""


def frozen_seconds(graph: Path, image_size: int) -> float:
    """Seconds per image of `image_size` pixels through the exported `graph` in ONNX Runtime, in batches as in a run."""
    session = open_session(graph)
    outputs = [output.name for output in session.get_outputs() if output.name != "map"]
    images = np.random.default_rng(0).integers(0, 256, (BATCH, image_size, image_size, 3), dtype=np.uint8)
    return timed(lambda: session.run(outputs, {"images": images})) / BATCH


def has_weights(asked: MeasureSpec, network: Network, cache: Cache) -> bool:
    """Whether the pretrained backbone can be exported without a download, or was exported before."""
    return _in_cache(asked, network, cache) or available(network, asked.weights)


def exported_graph(asked: MeasureSpec, network: Network, cache: Cache, scratch: Path) -> Generator[Event, None, Path]:
    """The backbone's graph: the pretrained one where its weights are here, else one with random weights in `scratch`."""
    if _in_cache(asked, network, cache):
        return (yield from exported_backbone(network, asked.weights, asked.image_size, cache)) / ONNX_NAME
    begun, before = time.perf_counter(), peak_resident_mb()
    if available(network, asked.weights):
        folder = yield from exported_backbone(network, asked.weights, asked.image_size, cache)
    else:
        folder = _export_random(asked, network, scratch)
    cost = _cost(begun, before)
    remembered(cache, _key(asked), ExportCost, lambda _: cost)
    return folder / ONNX_NAME


def export_cost(asked: MeasureSpec, network: Network, cache: Cache, scratch: Path) -> ExportCost:
    """What exporting `network` takes; where that is not known yet, it is exported to `scratch` with random weights."""

    def find(_: Path) -> ExportCost:
        begun, before = time.perf_counter(), peak_resident_mb()
        _export_random(asked, network, scratch)
        return _cost(begun, before)

    return remembered(cache, _key(asked), ExportCost, find)


def _in_cache(asked: MeasureSpec, network: Network, cache: Cache) -> bool:
    return cache.get("backbones", backbone_key(network, asked.weights, asked.image_size)) is not None


def _cost(begun: float, before: float) -> ExportCost:
    peak = peak_resident_mb()
    return ExportCost(seconds=time.perf_counter() - begun, memory_mb=peak if peak > before else 0.0)


def _export_random(asked: MeasureSpec, network: Network, folder: Path) -> Path:
    from tl_core.models.build import build
    from tl_core.models.graphs.from_torch import export_backbone

    backbone = build(network, weights=None, classes=None, like=asked.weights)
    export_backbone(backbone, asked.image_size, folder / ONNX_NAME)
    return folder


def _key(asked: MeasureSpec) -> str:
    return answer_key("export", "cpu", asked.backbone, asked.image_size)
