"""The frozen part of a backbone by ONNX Runtime on the CPU, over an exported graph, into .npy files. Needs no torch.

`eager` gives the same outputs in the same files by torch, for other devices.
"""

import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tl_core.data.cache import Cache
from tl_core.data.pace import Pace, in_order
from tl_core.disk import allocate
from tl_core.documents.events import Event
from tl_core.errors import ModelError
from tl_core.hardware import cores
from tl_core.models.graphs.edit import cut, holds_graph
from tl_core.models.graphs.export import ONNX_NAME

EMBEDDING = "embedding"
"""Name of the graph's output that is the embedding."""
_FLOAT16_MAX = 65504.0
_TIMED = 2
"""Images for each core that are timed together."""

Outputs = list[NDArray[np.floating[Any]]]
"""What a graph gives for a few images: an array for each output that is wanted."""


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

    Each core computes one picture at a time: what a small network makes on the way then fits the core's own cache, and EfficientNet-Lite0 takes
    four fifths of the time that batches of 4 on all cores take.

    Yields progress of the stage `features`: that of `pace`, in which `before` images came earlier, or its own. In float16, values
    are clipped to its range.

    Raises:
        OSError: no space is left (ENOSPC); this is found after the first batch.
        ModelError: a value is not finite.
    """
    session, names = open_session(graph, threads=1), [each.output for each in wanted]

    def outputs(number: int) -> tuple[int, Outputs]:
        return number + 1, session.run(names, {"images": np.ascontiguousarray(pictures[number : number + 1])})

    with closing(in_order(outputs, len(pictures), ahead=2 * cores())) as parts:
        yield from write_outputs(wanted, parts, len(pictures), pace=pace, before=before)


def write_outputs(
    wanted: Sequence[Wanted], parts: Iterable[tuple[int, Outputs]], count: int, *, pace: Pace | None, before: int
) -> Generator[Event, None, None]:
    """Write the outputs of `count` images to the files of `wanted`; `parts` has them in order, each with the number of the image after it.

    Yields and raises as `run_graph`.
    """
    pace = pace or Pace("features", count)
    arrays: list[np.memmap[Any, Any]] = []
    start = 0
    for end, values in parts:
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
    session = open_session(graph, threads=1)

    def embed(number: int) -> NDArray[np.float32]:
        embedding: NDArray[np.float32] = session.run([EMBEDDING], {"images": pixels[rows[number : number + 1]]})[0]
        return embedding

    return np.concatenate(list(in_order(embed, len(rows))))


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
    """Seconds per image of `image_size` pixels through the exported `graph`, on all cores as in a run: the shortest of a few times."""
    pixels = np.zeros((_TIMED * cores(), image_size, image_size, 3), dtype=np.uint8)
    session, seconds = open_session(graph, threads=1), []
    for _ in range(4):
        begun = time.perf_counter()
        for _ in in_order(lambda row: session.run([EMBEDDING], {"images": pixels[row : row + 1]}), len(pixels)):
            pass
        seconds.append(time.perf_counter() - begun)
    return min(seconds) / len(pixels)


def open_session(graph: Path, *, threads: int) -> Any:
    """An ONNX Runtime session whose calls take so many `threads` each, which sleep while they wait for each other.

    Spinning threads would be 4 % faster on an idle machine, but half as fast on a busy one.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
