"""File locks of the operating system (`flock`), as descriptors. A process that has ended holds none, however it ended.

A lock belongs to the open file, so it lives in every process that the descriptor was handed to and goes with the last of
them, however that one ended. Therefore descriptors are only ever closed here, never unlocked: unlocking would take the
lock from the process that it was handed to.
"""

import fcntl
import os
import resource
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

_RETRY = 0.02
_DESCRIPTORS = 10_240
"""Open files that are asked for where the system names no limit."""


def take(path: Path, *, shared: bool = False, patience: float = 0.25) -> int | None:
    """Lock the file or folder at `path`, a file that is made if it is not there; the descriptor, or None where somebody else holds it.

    A reader that asks `held` has the lock for a moment, so a taker tries for `patience` seconds.
    """
    way = os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT
    descriptor = _above_streams(os.open(path, way | os.O_CLOEXEC, 0o600))
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                os.close(descriptor)
                return None
            time.sleep(_RETRY)
        except BaseException:
            os.close(descriptor)
            raise
        else:
            return descriptor


def _above_streams(descriptor: int) -> int:
    """`descriptor`, or one of at least 3 for the same file: 0, 1 and 2 would be replaced by a worker's standard streams."""
    if descriptor > 2:
        return descriptor
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(descriptor)


def held(path: Path) -> bool:
    """Whether somebody holds the file or folder at `path` exclusively; False where there is no file."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


@contextmanager
def holding(path: Path, *, patience: float = 0.25) -> Iterator[bool]:
    """Hold the lock on `path` until the block ends; False where somebody else holds it for longer than `patience` seconds."""
    descriptor = take(path, patience=patience)
    try:
        yield descriptor is not None
    finally:
        release([] if descriptor is None else [descriptor])


def release(descriptors: Iterable[int]) -> None:
    """Close `descriptors`; a lock ends when the last process that has one closed it."""
    for descriptor in descriptors:
        os.close(descriptor)


def allow_descriptors() -> None:
    """Let this process have as many open files, locks and connections as the system allows; many systems start with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY:
        # macOS says that it has no limit, and refuses more than this.
        most = _DESCRIPTORS if hard == resource.RLIM_INFINITY else hard
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))
