"""Two batches timed and the memory noted, so that an estimate rests on this machine and not on a table.

Time and memory do not depend on what the weights are, so random ones do. The answer is kept in the cache by machine,
network, strategy and what else changes it, and asked for once. Imports torch where stages learn; the fitted head's speed is
that of ONNX Runtime alone. Takes no device's turn: what is measured beside somebody's training is that machine's speed
beside a training, so ask while the device is idle.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from pathlib import Path

import numpy as np

from tl_core.data.cache import Cache
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.questions import Measurement, MeasureSpec
from tl_core.errors import DocumentError, NotFound, SpecError
from tl_core.hardware import machine, peak_resident_mb
from tl_core.models.graphs.edit import stage_name
from tl_core.models.graphs.export import ONNX_NAME, backbone_key, exported_backbone
from tl_core.models.registry import Network, network
from tl_core.models.weights.obtain import available
from tl_core.training.frozen.features import computed_key
from tl_core.training.frozen.onnx_runtime import BATCH, open_session
from tl_core.training.strategies.strategies import Strategy, misfit, strategy

VERSION = 5
"""Part of the key: raise it when a run's work changes, or what was measured before is believed for ever."""
WORKER_SECONDS = 0.4
"""For a worker to start and read its folder, before it imports anything heavy."""
_ROUNDS = 2


def measure(spec: MeasureSpec, cache: Cache) -> Generator[Event, None, Measurement]:
    """Speeds and memory of the network and strategy of `spec` here; from the cache where this machine has measured them.

    Raises:
        UnknownName: there is no such network, set of weights or strategy.
        SpecError: the strategy or the image size does not fit the network.
        DeviceError: torch cannot use the device, or not even one picture fits its memory.
        WeightsUnavailable, ModelError, DiskFull: as for exporting the backbone.
    """
    kept = known(spec, cache)
    if kept is not None:
        return kept
    on, row = network(spec.backbone), strategy(spec.strategy)
    problem = misfit(row, on, spec.stages)
    if problem:
        raise SpecError(problem)
    on.check_image_size(spec.image_size, spec.weights)
    yield StageStarted(stage="preparing", title=f"Timing two batches of {on.name}")
    if row.takes_steps:
        from tl_core.training.speed.step_times import measure_steps

        found = yield from measure_steps(spec, on, row, cache)
    else:
        found = yield from _measure_head(spec, on, row, cache)
    cache.make("activations", _key(spec), found.write, whole=lambda path: _read(path) is not None)
    return found


def known(spec: MeasureSpec, cache: Cache) -> Measurement | None:
    """What this machine measured for `spec` before; None where it did not, or the cache has let go of it. No torch."""
    path = cache.get("activations", _key(spec))
    return None if path is None else _read(path)


def frozen_seconds(graph: Path, image_size: int) -> float:
    """Seconds that ONNX Runtime takes for one picture of `image_size` pixels in the exported `graph`, in batches as a run's."""
    session = open_session(graph)
    outputs = [output.name for output in session.get_outputs() if output.name != "map"]
    pictures = np.random.default_rng(0).integers(0, 256, (BATCH, image_size, image_size, 3), dtype=np.uint8)
    return timed(lambda: session.run(outputs, {"images": pictures})) / BATCH


def timed(work: Callable[[], object]) -> float:
    """Seconds of `work` once it is warm, the quicker of two times: other work on the machine only ever slows it down."""
    work()
    found = []
    for _ in range(_ROUNDS):
        begun = time.perf_counter()
        work()
        found.append(time.perf_counter() - begun)
    return min(found)


class Export:
    """The exported backbone's folder, and what making one costs in time and memory."""

    def __init__(self, folder: Path, seconds: float, memory_mb: float) -> None:
        self.graph = folder / ONNX_NAME
        self.seconds = seconds
        self.memory_mb = memory_mb

    def cut(self, frozen: int, into: Path) -> Path:
        """The graph of the first `frozen` stages alone."""
        from tl_core.models.graphs.edit import cut

        path = into / f"prefix-{frozen}.onnx"
        cut(self.graph, [stage_name(frozen - 1)], path)
        return path


def exported(spec: MeasureSpec, on: Network, cache: Cache, scratch: Path) -> Generator[Event, None, Export]:
    """The backbone's graph: the real one where its weights are here, else one with random weights in `scratch`."""
    begun, before = time.perf_counter(), peak_resident_mb()
    real = cache.get("backbones", backbone_key(on, spec.weights, spec.image_size)) is not None
    cost = _export_cost(spec, cache)
    folder = scratch
    if real or available(on, spec.weights):
        folder = yield from exported_backbone(on, spec.weights, spec.image_size, cache)
    elif not (scratch / ONNX_NAME).exists():
        _export_random(on, spec, scratch)
    if cost is None:
        if real:
            begun = time.perf_counter()
            _export_random(on, spec, scratch)
        # A peak that was there before says nothing of the export.
        peak = peak_resident_mb()
        cost = time.perf_counter() - begun, peak if peak > before else 0.0
        text = json.dumps({"seconds": cost[0], "memory_mb": cost[1]})
        cache.make("activations", _export_key(spec), lambda path: _write(path, text))
    return Export(folder, *cost)


def _measure_head(spec: MeasureSpec, on: Network, row: Strategy, cache: Cache) -> Generator[Event, None, Measurement]:
    begun = time.perf_counter()
    import onnxruntime  # noqa: F401
    import scipy.optimize  # noqa: F401

    start = WORKER_SECONDS + time.perf_counter() - begun
    with tempfile.TemporaryDirectory(prefix="graft-measure-") as scratch:
        kept = cache.get("backbones", backbone_key(on, spec.weights, spec.image_size)) is not None
        if kept or available(on, spec.weights):
            folder = yield from exported_backbone(on, spec.weights, spec.image_size, cache)
            export = 0.0
        else:
            found = yield from exported(spec, on, cache, Path(scratch))
            folder, export = found.graph.parent, found.seconds
        if spec.device == "cpu":
            seconds = frozen_seconds(folder / ONNX_NAME, spec.image_size)
            memory = peak_resident_mb()
        else:
            from tl_core.training.speed.step_times import frozen_on_device

            seconds, memory = frozen_on_device(on, spec)
    return Measurement(
        backbone=on.name,
        strategy=row.name,
        device=spec.device,
        frozen_seconds=seconds,
        prefix_seconds=0.0,
        step_seconds=0.0,
        score_seconds=0.0,
        start_seconds=start,
        export_seconds=export,
        memory_mb=memory,
        peak_parameters=on.head_parameters(spec.classes),
    )


def _export_random(on: Network, spec: MeasureSpec, folder: Path) -> None:
    from tl_core.models.build import build
    from tl_core.models.graphs.from_torch import export_backbone

    folder.mkdir(parents=True, exist_ok=True)
    export_backbone(build(on, weights=None, classes=None, like=spec.weights), spec.image_size, folder / ONNX_NAME)


def _export_cost(spec: MeasureSpec, cache: Cache) -> tuple[float, float] | None:
    path = cache.get("activations", _export_key(spec))
    with suppress(OSError, ValueError, TypeError, KeyError):
        if path is not None:
            found = json.loads(path.read_bytes())
            return float(found["seconds"]), float(found["memory_mb"])
    return None


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def _key(spec: MeasureSpec) -> str:
    asked = spec.model_copy(update={"classes": 0})
    return f"measured-{computed_key(str(VERSION), machine(spec.device), asked.model_dump_json())}"


def _export_key(spec: MeasureSpec) -> str:
    return f"export-{computed_key(str(VERSION), machine('cpu'), spec.backbone, str(spec.image_size))}"


def _read(path: Path) -> Measurement | None:
    with suppress(NotFound, DocumentError):
        return Measurement.read(path)
    return None
