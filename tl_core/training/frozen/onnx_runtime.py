"""The frozen part of a backbone by ONNX Runtime on the CPU, over an exported graph, into .npy files. Needs no torch.

`eager` gives the same outputs in the same files by torch, for other devices.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tl_core.data.cache import Cache, allocate
from tl_core.data.pace import Pace
from tl_core.documents.events import Event
from tl_core.errors import ModelError
from tl_core.hardware import cores
from tl_core.models.graphs.edit import cut, holds_graph
from tl_core.models.graphs.export import ONNX_NAME

EMBEDDING = "embedding"
"""The output of a graph that is the backbone's answer."""
BATCH = 8
"""Images a call: larger ones take more memory and are not faster on a CPU."""

_FLOAT16_MAX = 65504.0


class Pictures(Protocol):
    """Pictures that are made or read as they are needed; an array of pixels (N, S, S, 3) is one."""

    def __len__(self) -> int: ...
    def __getitem__(self, part: slice, /) -> NDArray[np.uint8]: ...


@dataclass(frozen=True)
class Wanted:
    """One output for all pictures, and the .npy file that it goes to."""

    output: str
    into: Path
    dtype: type[np.floating[Any]]


def run_graph(
    graph: Path, wanted: Sequence[Wanted], pictures: Pictures, *, pace: Pace | None = None, before: int = 0
) -> Generator[Event, None, None]:
    """Write the `wanted` outputs of `graph` for all `pictures`, in one pass.

    Yields progress of the stage `features`: of `pace`, in which `before` pictures came earlier, or of its own. Values
    beyond float16's range are clipped to it.

    Raises:
        OSError: no space is left (ENOSPC), before anything is computed for the missing space.
        ModelError: a value is no number.
    """
    session = open_session(graph)
    names = [one.output for one in wanted]
    count = len(pictures)
    first = session.run(names, {"images": np.ascontiguousarray(pictures[:1])})
    arrays = [
        new_rows(one.into, (count, *values.shape[1:]), one.dtype) for one, values in zip(wanted, first, strict=True)
    ]
    pace = pace or Pace("features", count)
    for start in range(0, count, BATCH):
        batch = np.ascontiguousarray(pictures[start : start + BATCH])
        for rows, values in zip(arrays, session.run(names, {"images": batch}), strict=True):
            write_rows(rows, start, values)
        event = pace.at(before + min(start + BATCH, count))
        if event is not None:
            yield event
    for rows in arrays:
        rows.flush()


def cut_graph(exported: Path, outputs: Sequence[str], cache: Cache) -> Path:
    """The graph that gives `outputs` (stages by `stage_name`, `embedding`) and runs no stage beyond them, from the cache.

    `exported` is the folder that `exported_backbone` gave, by the name that it has in the cache.

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
    """Embeddings (M, D) of the pictures `rows` of `pixels` (N, S, S, 3), computed now and kept nowhere."""
    session = open_session(graph)
    parts = [
        session.run(["embedding"], {"images": np.ascontiguousarray(pixels[rows[start : start + BATCH]])})[0]
        for start in range(0, len(rows), BATCH)
    ]
    return np.concatenate(parts)


def new_rows(path: Path, shape: tuple[int, ...], dtype: type[np.floating[Any]]) -> np.memmap[Any, Any]:
    """A memory map over a new .npy file whose space on the disk is already taken.

    Raises:
        OSError: no space is left (ENOSPC).
    """
    rows = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)
    allocate(path, path.stat().st_size)
    return rows


def write_rows(rows: np.memmap[Any, Any], start: int, values: NDArray[np.floating[Any]]) -> None:
    """Store `values` from row `start` on, clipped to what float16 holds where `rows` is float16.

    Raises:
        ModelError: a value is no number.
    """
    if not np.isfinite(values).all():
        raise ModelError("The backbone gives values that are no numbers for some pictures; choose another backbone.")
    clipped = np.clip(values, -_FLOAT16_MAX, _FLOAT16_MAX) if rows.dtype == np.float16 else values
    rows[start : start + len(values)] = clipped


def open_session(graph: Path) -> Any:
    """An ONNX Runtime session on all cores of this process, whose threads sleep while they wait for each other.

    Spinning would save 4 % on an idle machine, and makes a busy one half as fast.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])
