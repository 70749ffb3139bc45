"""The sentence that a user reads when a job failed, from the exception that ended it."""

import errno
from collections.abc import Iterator

from tl_core.documents.events import Failure
from tl_core.errors import DeviceError, DiskFull, GraftError, StoreError, memory_ran_out

_REFUSED = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.EFBIG, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ESTALE}
)


def failure_of(error: BaseException) -> Failure:
    """What ended a job, in a sentence that says what to do."""
    if isinstance(error, GraftError):
        return _told(error)
    if disk_full(error):
        return _told(
            DiskFull("The disk is full. Free some space, then start again; what was finished before is whole.")
        )
    if isinstance(error, OSError) and error.errno in _REFUSED:
        what = f" ({error.filename})" if error.filename else ""
        return _told(
            StoreError(
                f"The system refused a file: {error.strerror}{what}. Correct that, then start again; "
                "what was finished before is whole."
            )
        )
    if memory_ran_out(error):
        return _told(DeviceError.of_memory(error))
    words = " ".join(str(error).split())[:300]
    what = f"{type(error).__name__}: {words}" if words else type(error).__name__
    message = f"Something went wrong inside Graft ({what}). This is a bug in Graft; the log has the details."
    return Failure(kind="bug", message=message, exit_code=1)


def _told(error: GraftError) -> Failure:
    return Failure(kind=error.kind, message=error.message, exit_code=error.exit_code)


def disk_full(error: BaseException) -> bool:
    """Whether a full disk caused `error`, also where a library reports it in its own words."""
    return any(
        isinstance(one, DiskFull)
        or (isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT))
        or "no space left on device" in str(one).lower()
        for one in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__
