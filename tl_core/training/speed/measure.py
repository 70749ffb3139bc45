"""Two batches are timed and the memory noted, so that an estimate rests on this machine and not on a table.

Time and memory do not depend on the values of the weights, so random weights are used. The answer is kept in the cache by
machine and question. Imports torch only where stages learn, the device is no CPU, or the backbone has to be exported. Other work
on the machine makes the answer wrong, so measure while the device is idle.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Generator
from pathlib import Path

from tl_core.data.cache import Cache
from tl_core.documents.events import Event, StageStarted
from tl_core.documents.tasks import Measurement, MeasureSpec
from tl_core.errors import SpecError
from tl_core.hardware import peak_resident_mb
from tl_core.models import registry
from tl_core.models.registry import Network
from tl_core.training.speed.graph_times import export_cost, exported_graph, frozen_seconds, has_weights
from tl_core.training.strategies import strategies
from tl_core.training.strategies.strategies import misfit
from tl_core.training.timing import answer_key, recalled, remembered

_WORKER_SECONDS = 0.4
"""Seconds until a worker has started and read its folder, before it imports anything large."""


def measure(asked: MeasureSpec, cache: Cache) -> Generator[Event, None, Measurement]:
    """Speed and memory of a network and a strategy here; from the cache where this machine has measured them before.

    Raises:
        UnknownName: there is no such network, set of weights or strategy.
        SpecError: the strategy or the image size does not fit the network.
        DeviceError: torch cannot use the device, or not even one image fits its memory.
        WeightsUnavailable, ModelError, DiskFull: as for exporting the backbone.
    """
    before = known(asked, cache)
    if before is not None:
        return before
    network, strategy = registry.network(asked.backbone), strategies.strategy(asked.strategy)
    problem = misfit(strategy, network, asked.stages)
    if problem:
        raise SpecError(problem)
    network.check_image_size(asked.image_size, asked.weights)
    yield StageStarted(stage="preparing", title=f"Timing two batches of {network.name}")
    with tempfile.TemporaryDirectory(prefix="graft-measure-") as scratch:
        if strategy.takes_steps:
            from tl_core.training.speed.step_times import measure_steps

            found = yield from measure_steps(asked, network, strategy, cache, Path(scratch))
        else:
            found = yield from _measure_head(asked, network, cache, Path(scratch))
    found = found.model_copy(update={"start_seconds": _WORKER_SECONDS + found.start_seconds})
    return remembered(cache, _key(asked), Measurement, lambda _: found)


def known(asked: MeasureSpec, cache: Cache, *, here: str | None = None) -> Measurement | None:
    """What this machine measured for `asked` before; None where it did not, or the cache has dropped it. Imports no torch.

    `here`: what `hardware.machine` says of the device on which it was measured, where that is not the first of its kind.
    """
    return recalled(cache, _key(asked, here), Measurement)


def _measure_head(
    asked: MeasureSpec, network: Network, cache: Cache, scratch: Path
) -> Generator[Event, None, Measurement]:
    begun = time.perf_counter()
    import onnxruntime  # noqa: F401
    import scipy.optimize  # noqa: F401

    start = time.perf_counter() - begun
    # A run with these weights finds the backbone that is exported here.
    ready = has_weights(asked, network, cache)
    graph = yield from exported_graph(asked, network, cache, scratch)
    export = 0.0 if ready else export_cost(asked, network, cache, scratch).seconds
    if asked.device == "cpu":
        seconds, memory = frozen_seconds(graph, asked.image_size), peak_resident_mb()
    else:
        from tl_core.training.speed.step_times import frozen_on_device

        seconds, memory = frozen_on_device(asked, network)
    return Measurement(
        backbone=network.name,
        strategy=asked.strategy,
        device=asked.device,
        frozen_seconds=seconds,
        prefix_seconds=0.0,
        step_seconds=0.0,
        score_seconds=0.0,
        start_seconds=start,
        export_seconds=export,
        memory_mb=memory,
        peak_parameters=network.head_parameters(asked.classes),
    )


def _key(asked: MeasureSpec, here: str | None = None) -> str:
    """The number of classes hardly matters, so it is not part of the key."""
    return answer_key("measured", asked.device, asked.model_copy(update={"classes": 0}).model_dump_json(), here=here)
