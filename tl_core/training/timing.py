"""Work timed on this machine, and answers found by timing, which are kept in the cache by machine. Imports no torch."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter, ValidationError

from tl_core.data.cache import Cache
from tl_core.hardware import machine

Answer = TypeVar("Answer")

VERSION = 6
"""Part of every key. Raise it when the way of timing or the timed work changes, so that older answers are not used."""
ROUNDS = 2


def timed(work: Callable[[], object], *, before: Callable[[], object] = lambda: None) -> float:
    """Seconds that `work` takes when it is warm: the shorter of two times, since other load can only make it slower.

    `before` is run before each time and is not timed.
    """

    def once() -> float:
        before()
        begun = time.perf_counter()
        work()
        return time.perf_counter() - begun

    once()
    return min(once() for _ in range(ROUNDS))


def answer_key(name: str, device: str, *asked: object, here: str | None = None) -> str:
    """Cache key of what `name` finds on this machine's `device`, where it depends on `asked` and nothing else.

    `here`: what `machine` says of the device, where it is not the first of its kind.
    """
    text = "\n".join(map(str, (VERSION, here or machine(device), *asked)))
    return f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:40]}"


def recalled(cache: Cache, key: str, kind: type[Answer]) -> Answer | None:
    """The answer of that key; None where it was not found on this machine yet, or is not in the cache any more."""
    path = cache.get("activations", key)
    return None if path is None else _read(path, kind)


def remembered(cache: Cache, key: str, kind: type[Answer], find: Callable[[Path], Answer]) -> Answer:
    """The answer of that key from the cache; where it is not there, `find` gives it.

    `find` is called with the path of a temporary file on the cache's disk that it may write to.

    Raises:
        DiskFull: no space is left.
    """

    def write(path: Path) -> None:
        found = find(path)
        path.write_bytes(TypeAdapter(kind).dump_json(found))

    path = cache.make("activations", key, write, whole=lambda path: _read(path, kind) is not None)
    return TypeAdapter(kind).validate_json(path.read_bytes())


def _read(path: Path, kind: type[Answer]) -> Answer | None:
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
