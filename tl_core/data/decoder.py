"""The process that decodes pictures of strangers: `python -m tl_core.data.decoder`, started by `guarded.Pool`.

It reads requests on its stdin, a socket, and answers there, one picture at a time. Nothing of a file is counted beforehand: what it
costs is limited instead, by the size that its header declares and by the row of its format. It limits its own memory, and its
processor time by a plain JPEG that it times when it starts; the system ends it when that is used up. It ends with the process that
started it. It writes no file.
"""

import io
import os
import resource
import select
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pillow_heif
from PIL import AvifImagePlugin, Image

from tl_core import children
from tl_core.data import pixels
from tl_core.data.formats import ImageFormat, recognised
from tl_core.data.pixels import MAX_FILE_BYTES, ONE_AT_A_TIME, Room, unreadable
from tl_core.errors import UnreadableImage

LEAST_SECONDS = 1.0
"""Processor time that any picture may take, also before its size is read."""
MOST_SECONDS = 10.0
"""Processor time that no picture may exceed; the largest that are allowed take two or three seconds."""
BESIDE = 150_000_000
"""Bytes that a picture of any size may take beside its pixels and twice its file."""
GROWN = 300_000_000
"""Bytes by which the process may have grown between two pictures. Decoders that are fed broken files lose memory."""

_PLAIN_SIDE = 512
"""Pixels of a side of the JPEG that is timed."""
_GOES_FIRST = Path("/proc/self/oom_score_adj")
"""Where the memory of the machine runs out, Linux ends the process with the largest number."""

Answer = tuple[dict[str, Any], bytes]
Allowed = Callable[[int, int], None]
"""Asks the other side to go on with a picture of so many pixels, which may take so many bytes."""


def main() -> None:
    """Answer requests until the other side hangs up."""
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
    plain = _plain_pixel_seconds()
    with (
        socket.socket(fileno=0) as connection,
        connection.makefile("rb") as requests,
        connection.makefile("wb") as answers,
    ):

        def go_on(pixels: int, memory: int) -> None:
            children.send(answers, {"pixels": pixels, "memory": memory})
            children.receive(requests)

        at_first = children.mapped()
        children.send(answers, {"ready": True})
        last = False
        with suppress(EOFError):
            while not last:
                # What was allowed for the picture before may be less than this one has bytes.
                children.allow_memory(BESIDE + MAX_FILE_BYTES)
                header, content = _answered(*children.receive(requests), plain, go_on)
                last = children.mapped() > at_first + GROWN
                children.send(answers, {**header, "last": last}, content)


def _plain_pixel_seconds() -> float:
    """Processor time that a pixel of a plain JPEG takes on this machine."""
    plain = io.BytesIO()
    Image.effect_noise((_PLAIN_SIDE, _PLAIN_SIDE), 40).convert("RGB").save(plain, "JPEG")
    tries = []
    for _ in range(3):
        begun = time.process_time()
        Image.open(plain, formats=["JPEG"]).load()
        tries.append(time.process_time() - begun)
    return min(tries) / _PLAIN_SIDE**2


def _answered(task: dict[str, Any], content: bytes, plain: float, go_on: Allowed) -> Answer:
    row = recognised(content)
    # `margin`: how many times the time that the slowest healthy pictures take.
    room = partial(_room, row, len(content), task.pop("margin") * row.slowness * plain, go_on)
    children.allow_memory(task.pop("memory"))
    signal.setitimer(signal.ITIMER_PROF, LEAST_SECONDS)
    try:
        return TASKS[task.pop("task")](content, room=room, **task)
    except (UnreadableImage, MemoryError) as error:
        refused = unreadable(error)
        return {"refused": refused.reason, "message": refused.message}, b""
    except Exception:  # noqa: BLE001 - a bug, which the other side reports
        return {"bug": traceback.format_exc()}, b""
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


@contextmanager
def _room(row: ImageFormat, size: int, pixel_seconds: float, go_on: Allowed, pixels: int) -> Iterator[None]:
    """Take as much memory and time as a picture of so many `pixels` may need, once the other side lets it; `size`: bytes of its file."""
    memory = BESIDE + 2 * size + row.pixel_bytes * pixels
    if pixels > ONE_AT_A_TIME or not children.mapped():
        # The other side limits how many of these are decoded at once, or watches the memory where the system limits none.
        go_on(pixels, memory)
    seconds = min(max(pixel_seconds * pixels, LEAST_SECONDS), MOST_SECONDS)
    # Opening the file has taken its part of it.
    left, _ = signal.getitimer(signal.ITIMER_PROF)
    signal.setitimer(signal.ITIMER_PROF, left + seconds - LEAST_SECONDS)
    children.allow_memory(memory)
    try:
        yield
    finally:
        # A picture that took nearly all of it leaves enough for what is made of it.
        children.allow_memory(BESIDE)


def _copy(content: bytes, room: Room, **options: Any) -> Answer:
    made = pixels.make_copy(content, room=room, **options)
    header = {"width": made.width, "height": made.height, "measured": made.measured, "extension": made.extension}
    return {**header, "length": len(made.content)}, made.content + made.thumbnail


def _input(content: bytes, room: Room, **options: Any) -> Answer:
    made = pixels.make_input(content, room=room, **options)
    return {}, made.pixels.tobytes() + made.shown


TASKS: Mapping[str, Callable[..., Answer]] = MappingProxyType({"copy": _copy, "input": _input})
"""By its name in a request: what makes the answer."""


def _watch_parent() -> None:
    hung_up = select.poll()
    hung_up.register(0, 0)  # POLLHUP is reported though nothing is asked for
    hung_up.poll()
    os._exit(0)


if __name__ == "__main__":
    main()
