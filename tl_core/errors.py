"""Every error that a user can meet, as one tree.

GraftError                      what the user can mend; its text is for the user (exit code 2)
├── DataError                   the pictures
│   ├── UnreadableImage         one picture cannot be used; `reason` says why, in one word
│   ├── UnsafeArchive           a zip that could do harm
│   ├── LayoutError             folders from which no classes can be read
│   └── NotEnoughImages         a class that is too small, or too few classes
├── SpecError                   options that are wrong, all of them at once
│   └── UnknownName             a name that is not in a table; lists the valid ones
├── ModelError
│   ├── WeightsUnavailable      the pretrained weights are not on this machine
│   ├── DownloadFailed          they could not be fetched
│   └── BundleError             a bundle that cannot be used
├── StoreError
│   ├── NotFound                no such workspace, data set, run or file
│   ├── InUse                   something that a running job needs
│   ├── NotEmpty                an output folder that holds something already
│   ├── DiskFull                no space left
│   └── OverBudget              more than the operator allows
├── DocumentError               a JSON file that does not follow its schema
├── DeviceError                 a device that is not here, or whose memory is too small
├── LimitReached                more jobs, time or memory than the operator allows
├── Cancelled                   the user stopped it (exit code 130)
└── WorkerDied                  a worker ended without a word (exit code 1)

Anything else that is raised is a bug: its traceback goes into the run's log.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import ClassVar

MANY_NAMES = 20
"""More than a message should list."""
_NO_MEMORY = (
    "out of memory",
    "not enough memory",
    "allocate memory",
    "bad allocation",
    "std::bad_alloc",
    "alloc failed",
    "STATUS_ALLOC_FAILED",
    "ALLOCATION_FAILED",
    "failed to map segment",
    "can't start new thread",
)
"""What PyTorch on a CPU, Metal, cuBLAS and cuDNN, ONNX Runtime, Protocol Buffers and the system, also where it loads a library or
starts a thread, say when memory ran out."""


def memory_ran_out(error: BaseException) -> bool:
    """Whether `error` says that memory ran out: that of the machine, or that of its GPU."""
    # CUDA has a class of its own, but only torch has it.
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(words in str(error) for words in _NO_MEMORY)
    )


class GraftError(Exception):
    """Base of all errors whose text is meant for the user."""

    kind: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 2
    by_kind: ClassVar[dict[str, type[GraftError]]] = {}
    """Every class of this tree below the root that has a `kind` of its own, by it."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __init_subclass__(cls) -> None:
        if "kind" in cls.__dict__:
            GraftError.by_kind[cls.kind] = cls


class DataError(GraftError):
    kind = "data"


class UnreadableImage(DataError):
    """One picture cannot be used.

    `reason` is one of: not_an_image, unsupported_format, truncated, too_large, too_small, too_costly (in memory or time), empty.
    """

    kind = "unreadable_image"

    def __init__(self, message: str, reason: str = "not_an_image") -> None:
        super().__init__(message)
        self.reason = reason


class UnsafeArchive(DataError):
    kind = "unsafe_archive"


class LayoutError(DataError):
    kind = "layout"


class NotEnoughImages(DataError):
    kind = "not_enough_images"


class SpecError(GraftError):
    kind = "spec"

    @classmethod
    def of(cls, problems: Iterable[str]) -> SpecError:
        """One error for all `problems`, each a sentence."""
        return cls(" ".join(problems))


class UnknownName(SpecError):
    kind = "unknown_name"

    @classmethod
    def among(cls, what: str, name: str, valid: Iterable[str]) -> UnknownName:
        """An error that lists the names `valid`; of a long list only those that contain or resemble `name`, if there are any."""
        known = list(valid)
        close: list[str] = []
        if len(known) > MANY_NAMES:
            # A caller from Python may hand over anything.
            text = str(name).lower()
            holding = [full for full in known if len(text) > 2 and text in full.lower()]
            alike = difflib.get_close_matches(text, known, n=5, cutoff=0.5)
            close = list(dict.fromkeys([*holding, *alike]))[:5]
        if close:
            return cls(
                f"There is no {what} called {name!r}. Of {len(known)} the nearest are: {', '.join(close)}. Choose one of them, "
                "or any other of the list."
            )
        return cls(f"There is no {what} called {name!r}. Choose one of: {', '.join(known)}.")


class ModelError(GraftError):
    kind = "model"


class WeightsUnavailable(ModelError):
    kind = "weights_unavailable"


class DownloadFailed(ModelError):
    kind = "download_failed"


class BundleError(ModelError):
    kind = "bundle"


class StoreError(GraftError):
    kind = "store"


class NotFound(StoreError):
    kind = "not_found"


class InUse(StoreError):
    kind = "in_use"


class NotEmpty(StoreError):
    kind = "not_empty"


class DiskFull(StoreError):
    kind = "disk_full"


class OverBudget(StoreError):
    kind = "over_budget"


class DocumentError(GraftError):
    kind = "document"


class DeviceError(GraftError):
    kind = "device"

    @classmethod
    def of_memory(cls, error: BaseException) -> DeviceError:
        """What the user is told where memory ran out (`memory_ran_out(error)`)."""
        on_gpu = any(
            word in f"{type(error).__name__} {error}" for word in ("OutOfMemoryError", "CUDA", "CUDNN", "CUBLAS", "MPS")
        )
        return cls(
            f"There is not enough memory{' on this GPU' if on_gpu else ''} for this. Choose a smaller image size or backbone, "
            "or fewer stages, then start again."
        )


class LimitReached(GraftError):
    kind = "limit"


class Cancelled(GraftError):
    kind = "cancelled"
    exit_code = 130


class WorkerDied(GraftError):
    kind = "worker_died"
    exit_code = 1
