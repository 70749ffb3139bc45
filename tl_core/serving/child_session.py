"""The graph of a bundle in a child process with limited memory, for bundles that may come from a stranger."""

import math
import signal
import subprocess
import threading
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tl_core.children import command, environment, receive, send
from tl_core.errors import BundleError
from tl_core.serving.bundle_files import ONNX
from tl_core.serving.graph_check import Ends
from tl_core.serving.onnx_session import LONGEST_RUN, too_long

_NONE = np.empty(0, dtype=np.uint8)
OPENING = (10.0, 1e-7)
"""Processor seconds that checking and opening a graph may take, and further ones for each byte of its file: ten times what they take."""
_DYING = 10.0
"""Seconds that a process which closed its end is given to end by itself, so that it can be said how."""


class ChildSession:
    """As `OnnxSession`, but the graph is checked, opened and run by `tl_core.serving.child`. Safe to share between threads.

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
        command("tl_core.serving.child"),
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
