"""Runs the graph of a bundle with ONNX Runtime, in this process."""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl_core.errors import BundleError, memory_ran_out
from tl_core.hardware import cores
from tl_core.models.graphs import rules
from tl_core.serving.bundle_files import ONNX

LONGEST_RUN = 300.0
"""Seconds after which a batch is stopped."""


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
