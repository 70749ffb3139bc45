"""The graph of a bundle: checks it, since it may come from a stranger, and runs it with ONNX Runtime in this process.

The check parses the file as data: nothing in it is run. The graph must follow the rules of `models.graphs.rules`, have the inputs and
outputs of an exported classifier, and agree with bundle.json.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl_core.errors import BundleError, memory_ran_out
from tl_core.hardware import cores
from tl_core.models.graphs import rules
from tl_core.serving.bundle_files import INFO, ONNX

LONGEST_RUN = 300.0
"""Seconds after which a batch is stopped."""


@dataclass(frozen=True)
class Ends:
    """What bundle.json says of the graph."""

    classes: int
    image_size: int
    """Pixels."""
    embedding_size: int


def check_graph(path: Path, ends: Ends) -> int:
    """Refuse a model.onnx that is not one self-contained graph of an exported classifier, or does not agree with `ends`.

    Returns the bytes of all arrays that are in memory at the same time, without weights, for `rules.BATCH` pictures.

    Raises:
        BundleError: the message says what is wrong.
    """
    import onnx

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # a parser may raise anything on hostile bytes
        if memory_ran_out(error):
            raise rules.too_much(ONNX) from error
        raise BundleError(f"{ONNX} is damaged or no ONNX file; it was not used.") from error
    _check_ends(model.graph, ends)
    return rules.check(model, ONNX, path.stat().st_size)


def _check_ends(graph: Any, ends: Ends) -> None:
    from onnx import TensorProto

    fixed = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in fixed]
    outputs = {value.name: value for value in graph.output}
    side = ends.image_size
    if [value.name for value in inputs] != ["images"]:
        raise BundleError(f"{ONNX} does not take the one input images; it was not used.")
    if inputs[0].type.tensor_type.elem_type != TensorProto.UINT8 or _shape(inputs[0])[1:] != (side, side, 3):
        raise BundleError(
            f"{ONNX} does not fit {INFO}: it takes pictures of shape {_shape(inputs[0])[1:]}, {INFO} says {(side, side, 3)}."
        )
    if set(outputs) != {"logits", "embedding", "map"}:
        raise BundleError(f"{ONNX} gives {', '.join(sorted(outputs))[:200]}; a bundle gives logits, embedding and map.")
    if any(output.type.tensor_type.elem_type != TensorProto.FLOAT for output in graph.output):
        raise BundleError(f"{ONNX} gives something else than numbers of 32 bits; it was not used.")
    classes, size = _shape(outputs["logits"])[1:], _shape(outputs["embedding"])[1:]
    if classes != (ends.classes,):
        raise BundleError(
            f"{ONNX} does not fit {INFO}: it answers for {classes[0] if classes else 0} classes, "
            f"{INFO} names {ends.classes}."
        )
    if size != (ends.embedding_size,) or len(_shape(outputs["map"])) != 4:
        raise BundleError(f"{ONNX} does not fit {INFO}: its embedding is {size}, {INFO} says {ends.embedding_size}.")


def _shape(value: Any) -> tuple[int, ...]:
    """The shape, with 0 for a dimension that is not fixed."""
    return tuple(int(dimension.dim_value) for dimension in value.type.tensor_type.shape.dim)


class OnnxSession:
    """A graph that was checked. Safe to share between threads."""

    def __init__(self, path: Path) -> None:
        """Open the graph at `path`.

        Raises:
            BundleError: the installed ONNX Runtime cannot run it.
        """
        self._session = _open(path)

    def run(
        self, outputs: Sequence[str], batch: NDArray[np.uint8], *, last: bool, longest: float = LONGEST_RUN
    ) -> list[NDArray[np.float32]]:
        """The arrays `outputs` of the graph for the pictures `batch` uint8 (N, S, S, 3).

        `last`: no further call follows soon, so the memory that ONNX Runtime took is returned. `longest`: seconds after which
        this batch is stopped.

        Raises:
            BundleError: the graph cannot be run, or takes too long.
        """
        from onnxruntime.capi.onnxruntime_pybind11_state import Fail, InvalidArgument, RuntimeException

        options = _run_options(give_memory_back=last)
        # No signal reaches Python while the graph runs, so a hostile graph could block the program for days.
        alarm = threading.Timer(longest, setattr, (options, "terminate", True))
        alarm.daemon = True
        alarm.start()
        try:
            arrays: list[NDArray[np.float32]] = self._session.run(list(outputs), {"images": batch}, options)
        except (Fail, InvalidArgument, RuntimeException) as error:
            if options.terminate:
                raise too_long(longest, len(batch)) from error
            if memory_ran_out(error):
                raise rules.too_much(ONNX) from error
            raise BundleError(f"{ONNX} cannot be run. Export it again.") from error
        finally:
            alarm.cancel()
        return arrays


def too_long(longest: float, pictures: int) -> BundleError:
    """The error for a graph that took more than `longest` seconds for so many pictures; none: to be opened."""
    what = f"for {pictures} pictures" if pictures else "to be opened"
    return BundleError(f"{ONNX} took more than {longest:.3g} s {what} and was stopped.")


def _open(path: Path) -> Any:
    import onnxruntime
    from onnxruntime.capi.onnxruntime_pybind11_state import (
        Fail,
        InvalidGraph,
        InvalidProtobuf,
        NotImplemented,
        RuntimeException,
    )

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin while they wait would slow down a job that trains at the same time.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        # Constant folding would run operators while the session is opened, where the time limit does not hold yet.
        return onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=["ConstantFolding"]
        )
    except (Fail, InvalidGraph, InvalidProtobuf, NotImplemented, RuntimeException) as error:
        if memory_ran_out(error):
            raise rules.too_much(ONNX) from error
        raise BundleError(f"{path.name} cannot be run by the installed ONNX Runtime. Export it again.") from error


def _run_options(*, give_memory_back: bool) -> Any:
    import onnxruntime

    options = onnxruntime.RunOptions()
    if give_memory_back:
        options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
    return options
