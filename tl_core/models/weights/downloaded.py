"""The weights that Graft itself downloaded: one record each in the store's folder `downloaded`, so that they keep to GRAFT_WEIGHTS_GB.

The files lie in the caches of PyTorch and Hugging Face. What other programs brought there has no record, and is never counted or
removed. The time of a record is when its file was used last. A process that uses the file has a shared lock on the record, for as
long as it lives; a record that is locked is not removed.
"""

import hashlib
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from tl_core import locks, settings
from tl_core.disk import in_words, modified, remove
from tl_core.documents.base import Document
from tl_core.errors import DocumentError, InUse, NotFound, OverBudget

_FOLDER = "downloaded"
_REMOVAL = 30.0
"""Seconds within which the files of a download are removed."""
_held: dict[Path, int] = {}
"""Descriptors of the locks that this process has, by the file that is locked."""


class Origin(Document):
    """What a record says of a download."""

    network: str
    weights: str
    bytes: int
    """Size of the whole file."""
    part: str
    """Path of the file while it is downloaded."""
    file: str
    """Path of the finished file, or of the link to it in the Hugging Face cache; empty before that."""


@dataclass(frozen=True)
class Downloaded:
    """One download, whether it has come to its end or not."""

    path: Path
    """The record."""

    @property
    def origin(self) -> Origin:
        """Raises NotFound, DocumentError."""
        return Origin.read(self.path)

    @property
    def used(self) -> float:
        """When it was used last, seconds since the epoch."""
        return modified(self.path)

    @property
    def bytes(self) -> int:
        """What it takes on the disk; of a download that goes on, what it will take."""
        origin = self.origin
        on_disk = max(_size(Path(origin.file)) if origin.file else 0, _size(Path(origin.part)))
        return max(on_disk, origin.bytes) if self.in_use else on_disk

    @property
    def in_use(self) -> bool:
        """Whether a process, perhaps this one, uses it or brings it."""
        descriptor = locks.take(self._lock, patience=0.0)
        if descriptor is None:
            return True
        locks.release([descriptor])
        return False

    def hold(self) -> None:
        """Keep it from being removed until this process has ended. Raises InUse where it is being removed."""
        if self._lock not in _held:
            descriptor = locks.take(self._lock, shared=True, patience=_REMOVAL)
            if descriptor is None:
                raise InUse("These weights are being removed. Try again in a minute.")
            _held[self._lock] = descriptor

    def use(self) -> None:
        """As `hold`, and note that it is used now; nothing where there is no such download. Raises InUse."""
        if self.path.is_file():
            self.hold()
            with suppress(FileNotFoundError):
                os.utime(self.path)

    def remove(self) -> int:
        """Remove its file and its record; the bytes that are free then. Raises InUse."""
        descriptor = locks.take(self._lock, patience=0.0)
        if descriptor is None:
            raise InUse("These weights are in use by a job. Wait until it has ended.")
        try:
            freed = 0
            with suppress(NotFound, DocumentError):
                origin = self.origin
                for file in filter(None, (origin.file, origin.part)):
                    blob = Path(file).resolve()
                    freed += _size(blob)
                    remove(Path(file))
                    remove(blob)
            self.path.unlink(missing_ok=True)
            return freed
        finally:
            locks.release([descriptor])

    @property
    def _lock(self) -> Path:
        return self.path.with_suffix(".lock")


def record_of(part: Path) -> Downloaded:
    """The record of the download that goes through the file `part`, whether it is there or not."""
    return Downloaded(_folder() / f"{hashlib.sha256(str(part).encode()).hexdigest()[:16]}.json")


def downloads() -> list[Downloaded]:
    """All records, the least recently used first."""
    records = [Downloaded(path) for path in _folder().glob("*.json")]
    return sorted((record for record in records if _is_record(record)), key=lambda record: (record.used, record.path))


def require_small_enough(network: str, size: int) -> None:
    """Raises OverBudget where `size` bytes of weights of `network` are more than all downloaded weights may take."""
    budget = settings.current().weights_bytes
    if budget and size > budget:
        raise _refusal(network, size, budget, 0)


def begin(record: Downloaded, origin: Origin) -> list[Origin]:
    """Hold and write `record` once `origin` fits the budget; what was removed for that, the least recently used first.

    Raises:
        OverBudget: it does not fit, because of what is in use. Nothing was removed.
        DiskFull: the record cannot be written.
    """
    _folder().mkdir(parents=True, exist_ok=True, mode=0o700)
    with FileLock(_folder() / "lock", mode=0o600):
        removed = _make_room(record, origin)
        record.hold()
        origin.write(record.path)
    return removed


def _make_room(record: Downloaded, origin: Origin) -> list[Origin]:
    budget = settings.current().weights_bytes
    if not budget:
        return []
    others = [(other, other.bytes, other.in_use) for other in downloads() if other != record]
    fixed = sum(size for _, size, in_use in others if in_use)
    if fixed + origin.bytes > budget:
        raise _refusal(origin.network, origin.bytes, budget, fixed)
    total, removed = origin.bytes + sum(size for _, size, _ in others), []
    for other, size, in_use in others:
        if total <= budget:
            break
        if not in_use:
            with suppress(InUse, NotFound, DocumentError):
                gone = other.origin
                other.remove()
                removed.append(gone)
                total -= size
    return removed


def _refusal(network: str, size: int, budget: int, in_use: int) -> OverBudget:
    used = f", of which {in_words(in_use)} are in use" if in_use else ""
    return OverBudget(
        f"The weights of {network} take {in_words(size)}. All that Graft downloads may take {in_words(budget)} "
        f"(GRAFT_WEIGHTS_GB){used}. Choose a smaller backbone{' or try again later' if in_use else ''}."
    )


def _is_record(record: Downloaded) -> bool:
    """Whether it can be read and anything of it is on the disk; if not, and nobody is about to bring it, it is removed."""
    with suppress(NotFound, DocumentError):
        if record.bytes:
            return True
    with suppress(InUse):
        record.remove()
    return False


def _folder() -> Path:
    return settings.store_folder() / _FOLDER


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
