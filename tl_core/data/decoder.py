"""The process that decodes pictures of strangers: `python -m tl_core.data.decoder SECONDS`, started by `guarded.Pool`.

It reads requests on its stdin, a socket, and answers there, one picture at a time. It limits its own memory by the size that a
picture's header declares, and its processor time to SECONDS a picture; the system ends it when that is used up. It ends with the
process that started it. It writes no file.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any

import pillow_heif
from PIL import AvifImagePlugin

from tl_core import children
from tl_core.data import reading
from tl_core.data.pixels import MAX_FILE_BYTES, ONE_AT_A_TIME, Room, unreadable
from tl_core.errors import UnreadableImage

OPENING = 600_000_000
"""Bytes that a header and its metadata may take. WebP reserves its canvas when it is opened."""
A_PIXEL = 24
"""Bytes that a pixel may take while it is decoded, converted and scaled; RGBA of WebP takes the most, 18."""
BESIDE = 200_000_000
"""Bytes that a picture of any size may take beside its pixels."""
GROWN = 300_000_000
"""Bytes by which the process may have grown between two pictures. Decoders that are fed broken files lose memory."""

_GOES_FIRST = Path("/proc/self/oom_score_adj")
"""Where the memory of the machine runs out, Linux ends the process with the largest number."""

Answer = tuple[dict[str, Any], bytes]


def main(arguments: list[str]) -> None:
    """Answer requests until the other side hangs up."""
    (seconds,) = map(float, arguments)
    # Ctrl+C reaches every process of the terminal; the one that started this one decides what ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # No file is written: none of the picture's making, and no dump of the memory of a decoder that it broke.
    for kind in (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE):
        resource.setrlimit(kind, (0, 0))
    with suppress(OSError):
        _GOES_FIRST.write_text("500")
    threading.Thread(target=_watch_parent, daemon=True).start()
    # One picture, one thread: the other cores have decoders of their own.
    AvifImagePlugin.DEFAULT_MAX_THREADS = pillow_heif.options.DECODE_THREADS = 1
    with socket.socket(fileno=0) as connection, connection.makefile("rb") as given, connection.makefile("wb") as back:
        at_first = children.mapped()
        children.send(back, {"ready": True})
        last = False
        with suppress(EOFError):
            while not last:
                # What was allowed for the picture before may be less than this one has bytes.
                children.allow_memory(OPENING + MAX_FILE_BYTES)
                header, content = _answered(*children.receive(given), seconds, partial(_room, given, back))
                last = children.mapped() > at_first + GROWN
                children.send(back, {**header, "last": last}, content)


def _answered(task: dict[str, Any], content: bytes, seconds: float, room: Callable[[int, int], Any]) -> Answer:
    children.allow_memory(OPENING + len(content))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        return TASKS[task.pop("task")](content, room=partial(room, len(content)), **task)
    except (UnreadableImage, MemoryError) as error:
        refused = unreadable(error)
        return {"refused": refused.reason, "message": refused.message}, b""
    except Exception:  # noqa: BLE001 - a bug, which the other side reports
        return {"bug": traceback.format_exc()}, b""
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


@contextmanager
def _room(given: IO[bytes], back: IO[bytes], beside: int, pixels: int) -> Iterator[None]:
    """Wait for a turn, if the picture is one of the largest, and take as much memory as its size allows.

    `beside`: bytes of its file.
    """
    if pixels > ONE_AT_A_TIME:
        children.send(back, {"pixels": pixels})
        children.receive(given)
    children.allow_memory(BESIDE + beside + A_PIXEL * pixels)
    try:
        yield
    finally:
        # A picture that took nearly all of it leaves enough for what is made of it.
        children.allow_memory(BESIDE)


def _copy(content: bytes, room: Room, **options: Any) -> Answer:
    made = reading.make_copy(content, room=room, **options)
    header = {"width": made.width, "height": made.height, "measured": made.measured, "extension": made.extension}
    return {**header, "length": len(made.content)}, made.content + made.thumbnail


def _input(content: bytes, room: Room, **options: Any) -> Answer:
    made = reading.make_input(content, room=room, **options)
    return {}, made.pixels.tobytes() + made.shown


TASKS: Mapping[str, Callable[..., Answer]] = MappingProxyType({"copy": _copy, "input": _input})
"""By its name in a request: what makes the answer."""


def _watch_parent() -> None:
    hung_up = select.poll()
    hung_up.register(0, 0)  # POLLHUP is reported though nothing is asked for
    hung_up.poll()
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
