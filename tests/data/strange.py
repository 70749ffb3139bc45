"""A decoder that does what a PNG says under "do", as a fault in a library would: `python -m tests.data.strange`."""

import io
import os
import resource
import signal
import struct
import time
from contextlib import suppress
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tl_core.data import decoder, pixels

_upright_rgb = pixels._upright_rgb
_LOST: list[bytearray] = []


def telling(do: str, image: Image.Image | None = None) -> bytes:
    """A PNG that makes this decoder call a function below by its name, with what follows the name."""
    buffer = io.BytesIO()
    info = PngInfo()
    info.add_text("do", do)
    (image or Image.linear_gradient("L")).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def spin(_: str) -> None:
    while True:
        pass


def spin_on(_: str) -> None:
    """Spin, although the time is up."""
    signal.signal(signal.SIGPROF, signal.SIG_IGN)
    spin("")


def wait(_: str) -> None:
    time.sleep(1_000_000)


def hog(megabytes: str) -> None:
    bytearray(int(megabytes) * 1_000_000)


def hog_on(megabytes: str) -> None:
    """Take the memory without a limit, and fill it."""
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    _LOST.append(bytearray(b"x" * (int(megabytes) * 1_000_000)))
    wait("")


def leak(megabytes: str) -> None:
    _LOST.append(bytearray(int(megabytes) * 1_000_000))


def die(signal_name: str) -> None:
    os.kill(os.getpid(), signal.Signals[signal_name])


def die_if(file: str) -> None:
    """Die by SIGKILL where `file` exists, and remove it."""
    if Path(file).exists():
        Path(file).unlink()
        die("SIGKILL")


def nonsense(_: str) -> None:
    os.write(0, b"\0\0\0\5hello")


def answer(text: str) -> None:
    """Send a message whose header is `text`, with the bytes of 32 x 32 pixels."""
    pixels = bytes(32 * 32 * 3)
    os.write(0, struct.pack("<IQ", len(text), len(pixels)) + text.encode() + pixels)


def nothing(_: str) -> None:
    pass


def hold(file: str) -> None:
    """Fail where `file` exists; `release` removes it when the picture is decoded."""
    Path(file).touch(exist_ok=False)


def release(file: str) -> None:
    Path(file).unlink()


def fill(_: str) -> None:
    """Take the memory that is allowed, but for less than 100 kilobytes."""
    for size in (100_000_000, 1_000_000, 100_000):
        with suppress(MemoryError):
            while True:
                _LOST.append(bytearray(size))


BEFORE = {
    function.__name__: function
    for function in (spin, spin_on, wait, hog, hog_on, leak, die, die_if, nonsense, answer, hold)
}
"""What is done before the picture is decoded."""
AFTER = {"hold": release, "fill": fill}
"""What is done after it."""


def _strange(image: Image.Image, longest: int, scales: bool) -> Image.Image:
    name, _, given = image.info.get("do", "").partition(" ")
    BEFORE.get(name, nothing)(given)
    result = _upright_rgb(image, longest, scales)
    AFTER.get(name, nothing)(given)
    return result


if __name__ == "__main__":
    pixels._upright_rgb = _strange
    decoder.main()
