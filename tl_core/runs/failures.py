"""The sentence that a user reads when a job failed, from the exception that ended it."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from tl_core.documents.status import Failure
from tl_core.errors import DeviceError, DiskFull, GraftError, StoreError

_DISK_FULL = "The disk is full. Free some space, then start again; what was finished before is whole."
_REFUSED = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE}
)
_REFUSAL = (
    "The system refused a file: {reason}{what}. Correct that, then start again; what was finished before is whole."
)
_MEMORY = "There is not enough {memory} for this. Choose a smaller image size or backbone, then start again."


def failure_of(error: BaseException) -> Failure:
    """What ended a job, in a sentence that says what to do."""
    if isinstance(error, GraftError):
        return Failure(kind=error.kind, message=error.message, exit_code=error.exit_code)
    if disk_full(error):
        return Failure(kind=DiskFull.kind, message=_DISK_FULL, exit_code=DiskFull.exit_code)
    if isinstance(error, OSError) and error.errno in _REFUSED:
        what = f" ({error.filename})" if error.filename else ""
        message = _REFUSAL.format(reason=error.strerror, what=what)
        return Failure(kind=StoreError.kind, message=message, exit_code=StoreError.exit_code)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        memory = "memory" if isinstance(error, MemoryError) else "memory on this GPU"
        return Failure(kind=DeviceError.kind, message=_MEMORY.format(memory=memory), exit_code=DeviceError.exit_code)
    words = " ".join(str(error).split())[:300]
    what = f"{type(error).__name__}: {words}" if words else type(error).__name__
    message = f"Something went wrong inside Graft ({what}). This is a bug in Graft; the log has the details."
    return Failure(kind="bug", message=message, exit_code=1)


def disk_full(error: BaseException) -> bool:
    """Whether a full disk caused `error`, also where a library reports it in its own words."""
    for one in _chain(error):
        if isinstance(one, DiskFull) or (isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT)):
            return True
        if "no space left on device" in str(one).lower():
            return True
    return False


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
