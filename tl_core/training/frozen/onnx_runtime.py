"""The frozen part of a backbone by ONNX Runtime on the CPU, over an exported graph, into .npy files. Needs no torch.

`eager` gives the same outputs in the same files by torch, for other devices.
"""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tl_core.data.cache import Cache
from tl_core.data.pace import Pace
from tl_core.disk import allocate
from tl_core.documents.events import Event
from tl_core.errors import ModelError
from tl_core.hardware import cores
from tl_core.models.graphs.edit import cut, holds_graph
from tl_core.models.graphs.export import ONNX_NAME
from tl_core.training.part_sizes import PartSize, in_parts

EMBEDDING = "embedding"
"""Name of the graph's output that is the embedding."""
BATCH = 4
"""Images per call: what they take on the way through a small network fits a processor's cache. With 8, EfficientNet-Lite0 takes 15 % longer."""

_FLOAT16_MAX = 65504.0
PART_BYTES = 256_000_000
"""Bytes of the images of one part, and of its outputs, that the host's memory holds at once."""


class Pictures(Protocol):
    """Images that are made or read when they are needed; an array of pixels (N, S, S, 3) also is one."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class Wanted:
    """One output for all images, and the .npy file to which it is written."""

    output: str
    into: Path
    dtype: type[np.floating[Any]]


def run_graph(
    graph: Path, wanted: Sequence[Wanted], pictures: Pictures, *, pace: Pace | None = None, before: int = 0
) -> Generator[Event, None, None]:
    """Write the `wanted` outputs of `graph` for all `pictures` in one pass.

    Yields progress of the stage `features`: that of `pace`, in which `before` images came earlier, or its own. In float16, values
    are clipped to its range.

    Raises:
        OSError: no space is left (ENOSPC); this is found after the first batch.
        ModelError: a value is not finite.
    """
    session, names = open_session(graph), [each.output for each in wanted]

    def outputs(part: slice) -> list[NDArray[np.floating[Any]]]:
        values: list[NDArray[np.floating[Any]]] = session.run(names, {"images": np.ascontiguousarray(pictures[part])})
        return values

    yield from write_outputs(wanted, outputs, len(pictures), PartSize(BATCH), pace=pace, before=before)


def write_outputs(
    wanted: Sequence[Wanted],
    outputs: Callable[[slice], list[NDArray[np.floating[Any]]]],
    count: int,
    images: PartSize,
    *,
    pace: Pace | None,
    before: int,
    make_room: Callable[[], None] | None = None,
) -> Generator[Event, None, None]:
    """Write what `outputs` gives for each part of `count` images to the files of `wanted`.

    The size of the parts, `images`, doubles as long as their outputs have at most `PART_BYTES`; `make_room` is that of `in_parts`. Yields
    and raises as `run_graph`.
    """

    def may_double(values: list[NDArray[np.floating[Any]]]) -> bool:
        return 2 * sum(some.nbytes for some in values) <= PART_BYTES

    pace = pace or Pace("features", count)
    arrays: list[np.memmap[Any, Any]] = []
    start = 0
    for end, values in in_parts(outputs, count, images, make_room=make_room, may_double=may_double):
        if not arrays:
            arrays = [
                new_rows(each.into, (count, *v.shape[1:]), each.dtype) for each, v in zip(wanted, values, strict=True)
            ]
        for rows, some in zip(arrays, values, strict=True):
            write_rows(rows, start, some)
        start = end
        yield from pace.at(before + start)
    for rows in arrays:
        rows.flush()


def cut_graph(exported: Path, outputs: Sequence[str], cache: Cache) -> Path:
    """The part of the exported graph that computes `outputs` (stages by `stage_name`, `embedding`), from the cache.

    `exported` is the folder that `exported_backbone` gave, by the cache's own path of it, because its name is part of the key.

    Raises:
        ModelError: the backbone has no such output.
        DiskFull: no space is left.
    """
    return cache.make(
        "backbones",
        "-".join([exported.name, *outputs]),
        partial(cut, exported / ONNX_NAME, outputs),
        whole=holds_graph(*outputs),
    )


def embed_rows(graph: Path, pixels: NDArray[np.uint8], rows: NDArray[np.integer]) -> NDArray[np.float32]:
    """Embeddings (M, D) of the images `rows` of `pixels` (N, S, S, 3); they are not kept in the cache."""
    session = open_session(graph)
    parts = [
        session.run([EMBEDDING], {"images": np.ascontiguousarray(pixels[rows[start : start + BATCH]])})[0]
        for start in range(0, len(rows), BATCH)
    ]
    return np.concatenate(parts)


def new_rows(path: Path, shape: tuple[int, ...], dtype: type[np.floating[Any]]) -> np.memmap[Any, Any]:
    """A memory map of a new .npy file whose space on the disk is already reserved.

    Raises:
        OSError: no space is left (ENOSPC).
    """
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    allocate(path, path.stat().st_size)
    return rows


def write_rows(rows: np.memmap[Any, Any], start: int, values: NDArray[np.floating[Any]]) -> None:
    """Write `values` from row `start` on, clipped to float16's range where `rows` is float16.

    Raises:
        ModelError: a value is not finite.
    """
    if not np.isfinite(values).all():
        raise ModelError("The backbone gives values that are no numbers for some pictures; choose another backbone.")
    clipped = np.clip(values, -_FLOAT16_MAX, _FLOAT16_MAX) if rows.dtype == np.float16 else values
    rows[start : start + len(values)] = clipped


def seconds_an_image(graph: Path, image_size: int) -> float:
    """Seconds per image of `image_size` pixels through the exported `graph`, in batches as in a run: the shortest of a few times."""
    session, seconds = open_session(graph), []
    images = np.zeros((BATCH, image_size, image_size, 3), dtype=np.uint8)
    for _ in range(4):
        begun = time.perf_counter()
        session.run([EMBEDDING], {"images": images})
        seconds.append(time.perf_counter() - begun)
    return min(seconds) / BATCH


def open_session(graph: Path) -> Any:
    """An ONNX Runtime session on all cores of this process, whose threads sleep while they wait for each other.

    Spinning threads would be 4 % faster on an idle machine, but half as fast on a busy one.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
