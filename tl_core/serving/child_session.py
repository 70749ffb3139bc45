"""The graph of a bundle in a child process with limited memory, for bundles that may come from a stranger: both ends of the pipe.

The child, `python -m tl_core.serving.child_session`, reads questions from its standard input and writes the answers to its standard output,
as messages of `tl_core.children`. Its memory is limited, first to what reading the file may take, then to what the graph needs by its own
shapes. A question that takes longer than it says ends it.
"""

import math
import os
import signal
import subprocess
import sys
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl_core.children import allow_memory, command, environment, receive, send
from tl_core.errors import BundleError
from tl_core.hardware import cores
from tl_core.models.graphs.rules import too_much
from tl_core.serving.bundle_files import ONNX
from tl_core.serving.onnx_graph import LONGEST_RUN, Ends, OnnxSession, check_graph, too_long

_NONE = np.empty(0, dtype=np.uint8)
OPENING = (10.0, 1e-7)
"""Processor seconds that checking and opening a graph may take, and further ones for each byte of its file: ten times what they take."""
_DYING = 10.0
"""Seconds that a process which closed its end is given to end by itself, so that it can be said how."""
_READING = (64_000_000, 4)
"""Bytes that a graph may take while it is read and checked, and further ones for each byte of its file."""
_RUNNING = (256_000_000, 4)
"""The same for opening and running it."""
_LIVE = 6
"""Bytes for each byte of the arrays between two operators: ONNX Runtime takes memory in powers of two, and for copies."""
_A_THREAD = 16_000_000
"""Bytes that each of ONNX Runtime's threads reserves."""


class ChildSession:
    """As `OnnxSession`, but the graph is checked, opened and run by a child. Safe to share between threads.

    The process ends with this object. One that died is replaced at the next question.
    """

    def __init__(self, *, longest: float = LONGEST_RUN) -> None:
        """Start the process; a batch that takes longer than `longest` seconds is stopped."""
        self._longest = longest
        self._opened: dict[str, Any] = {}
        self._lock = threading.Lock()
        self._child = _start()
        self._end = weakref.finalize(self, _end, self._child)

    def open(self, path: Path, ends: Ends) -> None:
        """Check and open the graph at `path`.

        Raises:
            BundleError: as `check_graph` and `OnnxSession`, or it takes too much memory or time.
        """
        with self._lock:
            self._replaced()
            base, factor = OPENING
            seconds = base + factor * path.stat().st_size
            self._opened = {"path": str(path.absolute()), "ends": asdict(ends), "seconds": seconds}
            self._ask(self._opened)

    def run(self, outputs: Sequence[str], batch: NDArray[np.uint8], *, last: bool) -> list[NDArray[np.float32]]:
        """As `OnnxSession.run`.

        Raises:
            BundleError: the graph cannot be run, or takes too much memory or time.
        """
        with self._lock:
            if self._replaced():
                self._ask(self._opened)
            question = {"outputs": list(outputs), "shape": batch.shape, "last": last, "seconds": self._longest}
            answer, content = self._ask(question, batch)
        ends = np.cumsum([math.prod(shape) for shape in answer["shapes"]])
        parts = np.split(np.frombuffer(content, dtype=np.float32), ends[:-1])
        return [part.reshape(shape) for part, shape in zip(parts, answer["shapes"], strict=True)]

    def _replaced(self) -> bool:
        """Whether the process was dead, and is a new one now."""
        if self._child.poll() is None:
            return False
        self._end()
        self._child = _start()
        self._end = weakref.finalize(self, _end, self._child)
        return True

    def _ask(self, question: dict[str, Any], pictures: NDArray[np.uint8] = _NONE) -> tuple[dict[str, Any], bytes]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        try:
            send(self._child.stdin, question, pictures.data)
            answer, content = receive(self._child.stdout)
        except (EOFError, OSError) as error:
            with suppress(subprocess.TimeoutExpired):
                self._child.wait(_DYING)
            self._end()
            if self._child.returncode in (-signal.SIGALRM, -signal.SIGPROF):
                raise too_long(question["seconds"], len(pictures)) from error
            raise BundleError(
                f"{ONNX} ended the process that ran it ({_how(self._child.returncode)}): it takes more memory than a bundle "
                "of its size may, or breaks ONNX Runtime. It was not used."
            ) from error
        except BaseException:
            # Half of a message may be under way.
            self._end()
            raise
        if "error" in answer:
            raise BundleError(answer["error"])
        return answer, content


def _start() -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command("tl_core.serving.child_session"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Each further arena of the C library reserves memory that nothing uses.
        env=environment(MALLOC_ARENA_MAX="2", OPENBLAS_NUM_THREADS="1"),
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        with suppress(OSError):
            pipe.close()  # type: ignore[union-attr]


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"


def main() -> None:
    """The child: answers questions until its standard input ends."""
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
