"""Checks and runs the graph of a bundle from elsewhere, in a process of its own: `python -m tl_core.serving.child`.

It reads questions from its standard input and writes the answers to its standard output, as messages of `tl_core.children`. Its
memory is limited, first to what reading the file may take, then to what the graph needs by its own shapes. A question that takes
longer than it says ends it.
"""

import os
import signal
import sys
from importlib import import_module
from pathlib import Path

import numpy as np

from tl_core.children import allow_memory, receive, send
from tl_core.errors import BundleError
from tl_core.hardware import cores
from tl_core.models.graphs.rules import too_much
from tl_core.serving.bundle_files import ONNX
from tl_core.serving.graph_check import Ends, check_graph
from tl_core.serving.onnx_session import OnnxSession

_READING = (64_000_000, 4)
"""Bytes that a graph may take while it is read and checked, and further ones for each byte of its file."""
_RUNNING = (256_000_000, 4)
"""The same for opening and running it."""
_LIVE = 6
"""Bytes for each byte of the arrays between two operators: ONNX Runtime takes memory in powers of two, and for copies."""
_A_THREAD = 16_000_000
"""Bytes that each of ONNX Runtime's threads reserves."""


def main() -> None:
    # Before the memory is limited, and before the first question.
    for library in ("onnx", "onnxruntime"):
        import_module(library)
    # Whatever a library prints must not come among the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    session: OnnxSession | None = None
    while True:
        try:
            asked, content = receive(sys.stdin.buffer)
        except EOFError:
            return
        seconds = asked["seconds"]
        # Opening is limited in processor time, which the load of the machine does not change. While the graph runs, many cores work,
        # and ONNX Runtime stops it between two operators. The default of both signals ends the process, also in the middle of one.
        timer = signal.ITIMER_PROF if "path" in asked else signal.ITIMER_REAL
        signal.setitimer(timer, seconds if "path" in asked else 1.2 * seconds + 1)
        try:
            if "path" in asked:
                # Where this graph is refused, that of an earlier question must not answer in its place.
                session = None
                session = _open(Path(asked["path"]), Ends(**asked["ends"]))
                send(answers, {})
            elif session is None:
                send(answers, {"error": f"{ONNX} was not opened."})
            else:
                pictures = np.frombuffer(content, dtype=np.uint8).reshape(asked["shape"])
                arrays = session.run(asked["outputs"], pictures, last=asked["last"], longest=seconds)
                content = b"".join(array.tobytes() for array in arrays)
                send(answers, {"shapes": [array.shape for array in arrays]}, content)
        except BundleError as error:
            send(answers, {"error": error.message})
        except MemoryError:
            send(answers, {"error": too_much(ONNX).message})
        signal.setitimer(timer, 0)


def _open(path: Path, ends: Ends) -> OnnxSession:
    size = path.stat().st_size
    base, factor = _READING
    allow_memory(base + factor * size)
    live = check_graph(path, ends)
    base, factor = _RUNNING
    allow_memory(base + factor * size + _LIVE * live + _A_THREAD * cores())
    return OnnxSession(path)


if __name__ == "__main__":
    main()
