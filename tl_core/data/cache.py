"""The cache: a folder of limited size for what can be computed again.

An entry is a file or a folder, `root/KIND/KEY`, whose key is a hash of what it was computed from. It is put in place by one
rename, so that no reader sees an unfinished one. The least recently used entry is evicted first; a process that has an evicted file
open or memory-mapped can still read it (POSIX). An entry that cannot fit is refused before others are evicted for it.
"""

import os
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from filelock import FileLock, Timeout

from tl_core import locks
from tl_core.disk import disk_full_said, in_words, remove, size_of, spare, vanish
from tl_core.errors import DiskFull, OverBudget

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "pixels": "The decoded pictures",
        "features": "The features of the pictures",
        "groups": "The groups of the pictures",
        "activations": "The output of the frozen stages",
        "backbones": "The exported backbone",
    }
)
"""The folders of the cache, and what to call in a sentence what lies in them."""

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
    _most: int = field(repr=False)

    def commit(self) -> Path:
        """Rename what was written to `temporary` to its final name; returns the path.

        Raises:
            OverBudget: it is larger than the whole cache may be.
        """
        size = size_of(self.temporary)
        if size > self._most:
            raise _too_large(self._final.parent.name, size, self._most)
        self.temporary.rename(self._final)
        os.utime(self._final)
        self.path = self._final
        return self._final


class Kept(NamedTuple):
    """A finished entry of the cache."""

    used: float
    """When it was used last, seconds since the epoch."""
    bytes: int
    path: Path


class Cache:
    """Keeps at most `limit_bytes` under `root`, and `free_bytes` of its disk free; shared by all processes of one store."""

    def __init__(self, root: Path, limit_bytes: int, *, free_bytes: int = 0, spare_seconds: float = 60.0) -> None:
        """`spare_seconds`: an entry that was used so recently is not evicted, since a process may be about to open it."""
        self.root = root
        self.limit_bytes = limit_bytes
        self.free_bytes = free_bytes
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

    def filling(self, kind: str, key: str) -> bool:
        """Whether some process fills that entry just now."""
        return locks.held(self._lock_file(kind, key))

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
        not `whole` (after a power cut or a disk error) is dropped and filled again. Where filling takes `needed` bytes, older
        entries are evicted to make room for them, or none if they cannot fit.

        Raises:
            OverBudget: it is larger than the cache may be, beside what is being filled just now.
            DiskFull: the disk has no room for it, or no space was left while it was being filled.
        """
        final = self._path(kind, key)
        present = self._sound(kind, key, whole)
        temporary = final.with_name(f".{final.name}{_PARTIAL}")
        if present is not None:
            yield Entry(present, temporary, final, self.limit_bytes)
            return
        with disk_full_said(f"the cache in {self.root}"):
            with self._lock(kind, key):
                remove(temporary)
                found = Entry(self._sound(kind, key, whole), temporary, final, self.limit_bytes)
                if found.path is None:
                    _vanish(final)
                    if needed:
                        self._make_room(kind, needed)
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

    def entries(self) -> list[Kept]:
        """Every finished entry, the least recently used first."""
        return self._look()[0]

    def room(self) -> int:
        """Bytes that a new entry may take: within the limit, and on the disk once older entries are evicted."""
        self.root.mkdir(parents=True, exist_ok=True)
        entries, filling = self._look()
        return max(0, min(self.limit_bytes - filling, self._on_disk(entries)))

    def forget(self, origin: str) -> None:
        """Remove all entries whose key begins with `origin` and a hyphen."""
        for entry in self.entries():
            if entry.path.name.startswith(f"{origin}-"):
                _vanish(entry.path)

    def unused(self, since: float) -> list[Kept]:
        """Entries that were not used since then (seconds since the epoch), but none that was just used."""
        return [entry for entry in self._old(self.entries()) if entry.used < since]

    def drop(self, entry: Kept) -> None:
        """Remove one entry."""
        _vanish(entry.path)

    def evict(self) -> None:
        """Remove what crashed processes left behind, then the least recently used entries until the rest is within the limit.

        What was just used stays.
        """
        self._evict(*self._look(), within=self.limit_bytes, on_disk=0)

    def make_way(self, needed: int) -> None:
        """Evict old entries until the disk has `needed` bytes to spare for something else; none where that would not suffice."""
        entries, filling = self._look()
        if self._on_disk(entries) >= needed:
            self._evict(entries, filling, within=self.limit_bytes, on_disk=needed)

    def _make_room(self, kind: str, needed: int) -> None:
        """Evict what has to go for an entry of `needed` bytes; nothing where it cannot fit. Raises OverBudget, DiskFull."""
        entries, filling = self._look()
        if needed > self.limit_bytes - filling:
            raise _too_large(kind, needed, self.limit_bytes, filling)
        if needed > self._on_disk(entries):
            raise DiskFull(
                f"{KINDS[kind]} would take {in_words(needed)}, and the disk has room for {in_words(max(0, self._on_disk(entries)))}. "
                "Free some space and start again."
            )
        self._evict(entries, filling, within=self.limit_bytes - needed, on_disk=needed)

    def _evict(self, entries: list[Kept], filling: int, *, within: int, on_disk: int) -> None:
        total = sum(entry.bytes for entry in entries) + filling
        # Counted, not asked for again: the disk gets back an evicted file that is still mapped only when its reader has ended.
        free = spare(self.root, self.free_bytes)
        for entry in self._old(entries):
            if total <= within and free >= on_disk:
                break
            _vanish(entry.path)
            total, free = total - entry.bytes, free + entry.bytes

    def _on_disk(self, entries: list[Kept]) -> int:
        """Bytes that may still be written to the disk once those of `entries` that may be evicted are gone."""
        return spare(self.root, self.free_bytes) + sum(entry.bytes for entry in self._old(entries))

    def _old(self, entries: list[Kept]) -> list[Kept]:
        """Those that may be evicted."""
        newest_to_go = time.time() - self._spare_seconds
        return [entry for entry in entries if entry.used <= newest_to_go]

    def _look(self) -> tuple[list[Kept], int]:
        """The finished entries, the least recently used first, and the bytes of those that are being filled.

        What crashed processes left behind is removed.
        """
        entries, filling = [], 0
        for kind in KINDS:
            for path in (self.root / kind).iterdir() if (self.root / kind).is_dir() else ():
                if path.name.startswith("."):
                    self._sweep(path)
                    filling += size_of(path)
                    continue
                with suppress(FileNotFoundError):
                    entries.append(Kept(path.stat().st_mtime, size_of(path), path))
        return sorted(entries), filling

    def _sweep(self, leftover: Path) -> None:
        if leftover.name.endswith(_GONE):
            remove(leftover)
        elif leftover.name.endswith(_PARTIAL):
            key = leftover.name[1 : -len(_PARTIAL)]
            with suppress(Timeout), self._lock(leftover.parent.name, key, timeout=0):
                remove(leftover)

    def _lock(self, kind: str, key: str, *, timeout: float = -1) -> FileLock:
        file = self._lock_file(kind, key)
        file.parent.mkdir(parents=True, exist_ok=True)
        # A generator may be closed by another thread than the one that took the lock.
        return FileLock(file, timeout=timeout, thread_local=False)

    def _lock_file(self, kind: str, key: str) -> Path:
        return self.root / "locks" / f"{kind}-{key}.lock"

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


def _too_large(kind: str, needed: int, most: int, filling: int = 0) -> OverBudget:
    others = f", and other jobs are filling {in_words(filling)} of it" if filling else ""
    return OverBudget(
        f"{KINDS[kind]} would take {in_words(needed)} of the cache, which may have {in_words(most)} (GRAFT_CACHE_GB){others}. "
        "Take a smaller image size, fewer pictures or a smaller backbone, or let the operator raise that limit."
    )


def _vanish(path: Path) -> None:
    vanish(path, path.with_name(f".{secrets.token_hex(4)}{_GONE}"))
