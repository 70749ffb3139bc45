"""The cache: a folder of limited size for what can be computed again.

An entry is a file or a folder, `root/KIND/KEY`, whose key is a hash of what it was computed from. It is put in place by one
rename, so that no reader sees an unfinished one. The least recently used entry is evicted first; a process that has an evicted file
open or memory-mapped can still read it (POSIX).
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from tl_core.disk import disk_full_said, remove, vanish

KINDS = ("pixels", "features", "activations", "backbones")

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,150}")
_PARTIAL = ".partial"
_GONE = ".gone"


@dataclass
class Entry:
    """One entry of the cache while its lock is held."""

    path: Path | None
    """Place of the finished entry; None: it has to be filled."""
    temporary: Path
    """Where to write the entry: a path that does not exist yet, for a file or for a folder."""
    _final: Path = field(repr=False)

    def commit(self) -> Path:
        """Rename what was written to `temporary` to its final name; returns the path."""
        self.temporary.rename(self._final)
        os.utime(self._final)
        self.path = self._final
        return self._final


class Cache:
    """Keeps at most `limit_bytes` under `root`; shared by all processes of one store."""

    def __init__(self, root: Path, limit_bytes: int, *, spare_seconds: float = 60.0) -> None:
        """`spare_seconds`: an entry that was used so recently is not evicted, since a process may be about to open it."""
        self.root = root
        self.limit_bytes = limit_bytes
        self._spare_seconds = spare_seconds
        self._whole: set[tuple[Path, int]] = set()

    def get(self, kind: str, key: str) -> Path | None:
        """Path of the finished entry, which is marked as just used, or None."""
        path = self._path(kind, key)
        try:
            os.utime(path)
        except FileNotFoundError:
            return None
        return path

    @contextmanager
    def entry(
        self, kind: str, key: str, *, whole: Callable[[Path], bool] | None = None, needed: int = 0
    ) -> Iterator[Entry]:
        """Hold the lock of one entry, and fill it where it is not there yet.

        A context manager, so that a generator can fill the entry and report its progress:

            with cache.entry("pixels", key) as entry:
                if entry.path is None:
                    yield from fill(entry.temporary)
                    entry.commit()
            use(entry.path)

        A second process waits at the `with` and finds the entry filled. What was not committed is removed. An entry that is
        not `whole` (after a power cut or a disk error) is dropped and filled again. Where filling takes `needed` bytes and
        the disk has fewer, older entries are evicted first.

        Raises:
            DiskFull: no space was left while it was being filled.
        """
        final = self._path(kind, key)
        present = self._sound(kind, key, whole)
        temporary = final.with_name(f".{final.name}{_PARTIAL}")
        if present is not None:
            yield Entry(present, temporary, final)
            return
        with disk_full_said(f"the cache in {self.root}"):
            with self._lock(kind, key):
                remove(temporary)
                found = Entry(self._sound(kind, key, whole), temporary, final)
                if found.path is None:
                    _vanish(final)
                    if needed:
                        self.evict(needed)
                fresh = found.path is None
                try:
                    yield found
                finally:
                    remove(temporary)
            if fresh and found.path is not None:
                self.evict()

    def _sound(self, kind: str, key: str, whole: Callable[[Path], bool] | None) -> Path | None:
        """The entry, if it is there and `whole`; each file or folder is examined only once per process."""
        path = self.get(kind, key)
        if path is None or whole is None:
            return path
        try:
            seen = path, path.stat().st_ino
        except FileNotFoundError:
            return None
        if seen not in self._whole:
            if not whole(path):
                return None
            self._whole.add(seen)
        return path

    def make(
        self, kind: str, key: str, write: Callable[[Path], None], *, whole: Callable[[Path], bool] | None = None
    ) -> Path:
        """The entry, filled by `write(temporary path)` unless it is there already and `whole`.

        Raises:
            DiskFull: no space was left while it was being filled.
        """
        with self.entry(kind, key, whole=whole) as entry:
            if entry.path is None:
                write(entry.temporary)
                return entry.commit()
            return entry.path

    def size(self) -> int:
        """Bytes that all entries take now."""
        return sum(_bytes(path) for path in self._entries())

    def room(self) -> int:
        """Bytes that a new entry may take: within the limit, and on the disk once older entries are evicted."""
        self.root.mkdir(parents=True, exist_ok=True)
        return max(0, min(self.limit_bytes, shutil.disk_usage(self.root).free + self.size()))

    def forget(self, origin: str) -> None:
        """Remove all entries whose key begins with `origin` and a hyphen."""
        for path in self._entries():
            if path.name.startswith(f"{origin}-"):
                _vanish(path)

    def evict(self, needed: int = 0) -> None:
        """Remove what crashed processes left behind, then the least recently used entries.

        Stops as soon as the rest is within the limit and the disk has `needed` bytes free. What was just used stays.
        """
        entries: list[tuple[float, int, Path]] = []
        for path in self._entries():
            if path.name.startswith("."):
                self._sweep(path)
                continue
            try:
                entries.append((path.stat().st_mtime, _bytes(path), path))
            except FileNotFoundError:
                continue
        total = sum(size for _, size, _ in entries)
        newest_to_go = time.time() - self._spare_seconds
        for used, size, path in sorted(entries):
            fits = total <= self.limit_bytes and shutil.disk_usage(self.root).free >= needed
            if fits or used > newest_to_go:
                break
            _vanish(path)
            total -= size

    def _sweep(self, leftover: Path) -> None:
        if leftover.name.endswith(_GONE):
            remove(leftover)
        elif leftover.name.endswith(_PARTIAL):
            key = leftover.name[1 : -len(_PARTIAL)]
            with suppress(Timeout), self._lock(leftover.parent.name, key, timeout=0):
                remove(leftover)

    def _entries(self) -> list[Path]:
        return [path for kind in KINDS if (self.root / kind).is_dir() for path in (self.root / kind).iterdir()]

    def _lock(self, kind: str, key: str, *, timeout: float = -1) -> FileLock:
        locks = self.root / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        # A generator may be closed by another thread than the one that took the lock.
        return FileLock(locks / f"{kind}-{key}.lock", timeout=timeout, thread_local=False)

    def _path(self, kind: str, key: str) -> Path:
        if kind not in KINDS:
            raise ValueError(f"no cache kind {kind!r}; there are {', '.join(KINDS)}")
        if not _KEY.fullmatch(key):
            raise ValueError(f"not a cache key: {key!r}")
        folder = self.root / kind
        folder.mkdir(parents=True, exist_ok=True)
        return folder / key


def holds_array(dtype: type[np.generic], *leading: int) -> Callable[[Path], bool]:
    """A function for `Cache.entry(whole=...)`: whether a .npy file can be mapped, is of `dtype`, and has a shape that begins with `leading`."""

    def whole(path: Path) -> bool:
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError, SyntaxError):
            return False
        return bool(array.dtype == dtype and array.shape[: len(leading)] == leading)

    return whole


def _bytes(path: Path) -> int:
    try:
        return sum(_bytes(inner) for inner in path.iterdir()) if path.is_dir() else path.stat().st_size
    except FileNotFoundError:
        return 0


def _vanish(path: Path) -> None:
    vanish(path, path.with_name(f".{secrets.token_hex(4)}{_GONE}"))
