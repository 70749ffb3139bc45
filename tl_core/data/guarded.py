"""Decodes pictures of strangers in child processes, so that a hostile one costs its own process and nothing else.

The children stay warm. Each has limits on memory and on processor time (`tl_core.data.decoder`), and this side keeps an eye on the
clock, and on the memory where the system limits none. A child that dies, exceeds a limit or answers nonsense is replaced, and its
picture is refused. Children end with this process.
"""

from __future__ import annotations

import io
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import psutil
from numpy.typing import NDArray

from tl_core import children
from tl_core.data.formats import recognised
from tl_core.data.pixels import LONGEST, TOO_MUCH_MEMORY, Copy, Input, alone, read_bytes
from tl_core.errors import UnreadableImage
from tl_core.hardware import cores

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

WALL_SECONDS = 60.0
"""Time on the clock after which a decoder is ended."""
MARGIN = 10
"""How many times the processor time of the slowest healthy pictures a picture may take."""
PATIENCE = 60.0
"""Seconds of the pictures of one set that were refused for their cost, after which each further picture gets `HURRIED`."""
HURRIED = 3
"""As `MARGIN`, for a set with many such pictures: most of them get a second then, and healthy ones still have what they need."""

_LONGEST_ANSWER = 20_000_000
"""Bytes that a decoder may answer; the largest input has three million."""
_FAREWELL = 5.0
"""Seconds in which a decoder ends by itself, once nobody asks it any more."""
_LOOK_EVERY = 0.02
"""Seconds between two looks at the memory of a decoder."""
_AGAIN = "Save it again with another program."
_TOO_SLOW = f"The picture takes more time to decode than any picture needs. {_AGAIN}"
_KILLED = (
    "The program that decoded the picture was ended twice, perhaps because no memory was left. Bring the picture again."
)
_BROKEN = f"The picture is damaged: the program that decoded it was ended by it. {_AGAIN}"

Header = dict[str, Any]
Made = TypeVar("Made", Copy, Input)


class _Killed(UnreadableImage):
    """Something else than the picture may have ended its decoder."""

    def __init__(self) -> None:
        super().__init__(_KILLED, "too_costly")


class Pool:
    """At most `most` children that decode; each is started when it is first needed. Safe to share between threads."""

    def __init__(self, most: int, *, wall_seconds: float = WALL_SECONDS, module: str = "tl_core.data.decoder") -> None:
        self._free = threading.BoundedSemaphore(most)
        self._idle: list[_Child] = []
        self._start = partial(_Child, module, wall_seconds)
        self._refused_seconds = 0.0

    def make_copy(self, content: bytes, *, keep: bool) -> Copy:
        """As `pixels.make_copy`, in a child.

        Raises:
            UnreadableImage: also where the picture takes more memory or time than any picture needs.
        """
        margin = MARGIN if self._refused_seconds < PATIENCE else HURRIED
        begun = time.monotonic()
        try:
            return self._made({"task": "copy", "keep": keep, "margin": margin}, content, _copy_of)
        except UnreadableImage as error:
            if error.reason == "too_costly":
                self._refused_seconds += time.monotonic() - begun
            raise

    def make_input(self, content: bytes, size: int, interpolation: str, *, shown: int | None = None) -> Input:
        """As `pixels.make_input`, in a child.

        Raises:
            UnreadableImage: also where the picture takes more memory or time than any picture needs.
        """
        task = {"task": "input", "size": size, "interpolation": interpolation, "shown": shown, "margin": MARGIN}
        return self._made(task, content, lambda _, answer: _input_of(answer, size))

    def read_input(self, source: bytes | Path, size: int, interpolation: str) -> NDArray[np.uint8]:
        """As `pixels.read_input`, in a child: uint8 (size, size, 3).

        Raises:
            UnreadableImage: as `make_input`.
            OSError: the file itself cannot be read.
        """
        return self.make_input(read_bytes(source), size, interpolation).pixels

    def close(self) -> None:
        """End the children that are idle."""
        while self._idle:
            self._idle.pop().end()

    def _made(self, task: Header, content: bytes, read: Callable[[Header, bytes], Made]) -> Made:
        with self._free:
            try:
                return self._asked(task, content, read)
            except _Killed:
                # By hand, or because the machine had no memory left: the picture need not be the cause.
                return self._asked(task, content, read)

    def _asked(self, task: Header, content: bytes, read: Callable[[Header, bytes], Made]) -> Made:
        child = self._warm()
        try:
            header, answer = child.ask(task, content)
            made = _problem(header) or read(header, answer)
        except (EOFError, OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
            # Nothing came, or nonsense: such a child is not asked again.
            raise child.refusal() from None
        except BaseException:
            child.end()
            raise
        if header.get("last"):
            child.end()
        else:
            self._idle.append(child)
        if isinstance(made, Exception):
            raise made
        return made

    def _warm(self) -> _Child:
        """The child that was idle for the shortest time, or a new one; what ended by itself is left out."""
        with suppress(IndexError):
            while True:
                child = self._idle.pop()
                if child.alive():
                    return child
                child.end()
        return self._start()


class _Child:
    """One decoder."""

    def __init__(self, module: str, wall_seconds: float) -> None:
        """Start it. Raises `_Killed` where something ends it before it is ready; RuntimeError where it cannot start."""
        self._seconds = WALL_SECONDS
        self._exceeded = ""
        """What is said of the picture that it had, where this side ended it for that."""
        self._socket, theirs = socket.socketpair()
        self._to, self._from = self._socket.makefile("wb"), io.BufferedReader(_Answers(self._recv_into))
        with theirs:
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                children.command(module),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                # What libraries say of broken pictures; this package's own errors come as an answer.
                stderr=subprocess.DEVNULL,
                # Threads of NumPy and arenas of the allocator would map memory that no picture needs.
                env=children.environment(OPENBLAS_NUM_THREADS="1", MALLOC_ARENA_MAX="1"),
            )
        try:
            self._receive()
        except (EOFError, OSError, ValueError) as error:
            code = self.end()
            if code < 0:
                raise _Killed from error
            raise RuntimeError(f"{module} ended with {code} before it was ready") from error
        self._seconds = wall_seconds

    def ask(self, task: Header, content: bytes) -> tuple[Header, bytes]:
        """What the child answers. One of the largest pictures waits until no other is decoded."""
        memory = recognised(content).opened_bytes + 2 * len(content)
        answer = self._receive({**task, "memory": memory}, content, memory=memory)
        if "pixels" in answer[0]:
            with alone(int(answer[0]["pixels"])):
                answer = self._receive({"go": True}, memory=int(answer[0]["memory"]))
        return answer

    def alive(self) -> bool:
        return not self._exceeded and self._process.poll() is None

    def refusal(self) -> UnreadableImage:
        """End the child; what is said of the picture that it had."""
        code = self.end()
        if self._exceeded or code == -signal.SIGPROF:
            return UnreadableImage(self._exceeded or _TOO_SLOW, "too_costly")
        return _Killed() if code == -signal.SIGKILL else UnreadableImage(_BROKEN, "truncated")

    def end(self) -> int:
        """Wait for the end of the child, which hanging up brings about; returns its exit code, -N for signal N."""
        for stream in (self._to, self._from, self._socket):
            with suppress(OSError):
                stream.close()
        try:
            return self._process.wait(_FAREWELL)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _receive(self, header: Header | None = None, content: bytes = b"", *, memory: int = 0) -> tuple[Header, bytes]:
        """The next message of the child, after it was sent `header` and `content`; it may take `memory` bytes until then, if that is given."""
        self._deadline = time.monotonic() + self._seconds
        # Where the system keeps a limit on memory, the child has set it.
        self._most = _resident(self._process.pid) + memory if memory and not children.mapped() else 0
        try:
            if header is not None:
                # Each part of a request has this time, which a healthy child reads at once; an answer has it as a whole.
                self._socket.settimeout(self._seconds)
                children.send(self._to, header, content)
            return children.receive(self._from, most=_LONGEST_ANSWER)
        except TimeoutError:
            self._exceeded = self._exceeded or _TOO_SLOW
            self._process.kill()
            raise

    def _recv_into(self, buffer: WriteableBuffer) -> int:
        """What the child has written, into `buffer`. Raises TimeoutError once it is late or, where the system keeps no limit on memory, has too much."""
        while True:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(min(left, _LOOK_EVERY) if self._most else left)
            try:
                return self._socket.recv_into(buffer)
            except TimeoutError:
                if self._most and _resident(self._process.pid) > self._most:
                    self._exceeded = TOO_MUCH_MEMORY
                    raise


class _Answers(io.RawIOBase):
    """A stream of what `read_into` gives."""

    def __init__(self, read_into: Callable[[WriteableBuffer], int]) -> None:
        self._read_into = read_into

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        return self._read_into(buffer)


class Pools:
    """Several pools, each of which one holder has for himself, so that nobody waits for the pictures of somebody else."""

    def __init__(self, pools: Sequence[Pool]) -> None:
        self._free = list(pools)
        self._holders: set[str] = set()
        self._changed = threading.Condition()

    @contextmanager
    def lent(self, holder: str, seconds: float) -> Iterator[Pool | None]:
        """A pool for `holder`; None where in `seconds` none becomes free, or `holder` does not give back the one that he has."""
        with self._changed:
            is_free = self._changed.wait_for(lambda: self._free and holder not in self._holders, seconds)
            # The pool that was given back last has warm children.
            pool = self._free.pop() if is_free else None
            if pool:
                self._holders.add(holder)
        try:
            yield pool
        finally:
            if pool:
                with self._changed:
                    self._free.append(pool)
                    self._holders.remove(holder)
                    self._changed.notify_all()


@cache
def shared() -> Pool:
    """The pool of this process, as many children as cores. One that reads a data set, or pictures for the command line, uses it."""
    return Pool(cores())


def _resident(process: int) -> int:
    """Bytes of memory that a process has; 0 where it has ended."""
    with suppress(psutil.Error):
        return int(psutil.Process(process).memory_info().rss)
    return 0


def _problem(header: Header) -> Exception | None:
    if "bug" in header:
        return RuntimeError(f"a decoder failed:\n{header['bug']}")
    return UnreadableImage(str(header["message"]), str(header["refused"])) if "refused" in header else None


def _copy_of(header: Header, content: bytes) -> Copy:
    length = int(header["length"])
    made = Copy(
        int(header["width"]),
        int(header["height"]),
        dict(header["measured"]),
        str(header["extension"]),
        content[:length],
        content[length:],
    )
    if made.extension not in (".jpg", ".png", "") or not 0 < min(made[:2]) <= max(made[:2]) <= LONGEST:
        raise ValueError("this is no copy of a picture")
    return made


def _input_of(content: bytes, size: int) -> Input:
    length = size * size * 3
    return Input(np.frombuffer(content[:length], dtype=np.uint8).reshape(size, size, 3), content[length:])
