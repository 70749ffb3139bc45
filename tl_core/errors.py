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

import difflib
import re
from collections.abc import Iterable
from typing import ClassVar, Self

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
    by_kind: ClassVar[dict[str, "type[GraftError]"]] = {}
    """Every class of this tree below the root but those of single modules, by its `kind`."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __init_subclass__(cls) -> None:
        # From its name: DataError is `data`, NotEnoughImages `not_enough_images`. One that a module has for itself is what it inherits from.
        if not cls.__name__.startswith("_"):
            cls.kind = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__.removesuffix("Error")).lower()
            GraftError.by_kind[cls.kind] = cls


class DataError(GraftError):
    """The pictures."""


class UnreadableImage(DataError):
    """One picture cannot be used.

    `reason` is one of: not_an_image, unsupported_format, truncated, too_large, too_small, too_costly (in memory or time), empty.
    """

    def __init__(self, message: str, reason: str = "not_an_image") -> None:
        super().__init__(message)
        self.reason = reason


class UnsafeArchive(DataError):
    """A zip that could do harm."""


class LayoutError(DataError):
    """Folders from which no classes can be read."""


class NotEnoughImages(DataError):
    """A class that is too small, or too few classes."""


class SpecError(GraftError):
    """Options that are wrong, all of them at once."""

    @classmethod
    def of(cls, problems: Iterable[str]) -> Self:
        """One error for all `problems`, each a sentence."""
        return cls(" ".join(problems))


class UnknownName(SpecError):
    """A name that is not in a table."""

    @classmethod
    def among(cls, what: str, name: str, valid: Iterable[str]) -> Self:
        """An error that lists the names `valid`; of a long list only those that contain or resemble `name`, if there are any."""
        names = list(valid)
        close: list[str] = []
        if len(names) > MANY_NAMES:
            # A caller from Python may hand over anything.
            text = str(name).lower()
            holding = [full for full in names if len(text) > 2 and text in full.lower()]
            alike = difflib.get_close_matches(text, names, n=5, cutoff=0.5)
            close = list(dict.fromkeys([*holding, *alike]))[:5]
        if close:
            return cls(
                f"There is no {what} called {name!r}. Of {len(names)} the nearest are: {', '.join(close)}. Choose one of them, "
                "or any other of the list."
            )
        return cls(f"There is no {what} called {name!r}. Choose one of: {', '.join(names)}.")


class ModelError(GraftError):
    """The network."""


class WeightsUnavailable(ModelError):
    """The pretrained weights are not on this machine."""


class DownloadFailed(ModelError):
    """The weights could not be fetched."""


class BundleError(ModelError):
    """A bundle that cannot be used."""


class StoreError(GraftError):
    """What is kept."""


class NotFound(StoreError):
    """No such workspace, data set, run or file."""


class InUse(StoreError):
    """Something that a running job needs."""


class NotEmpty(StoreError):
    """An output folder that holds something already."""


class DiskFull(StoreError):
    """No space left."""


class OverBudget(StoreError):
    """More than the operator allows."""


class DocumentError(GraftError):
    """A JSON file that does not follow its schema."""


class DeviceError(GraftError):
    """A device that is not here, or whose memory is too small."""

    @classmethod
    def of_memory(cls, error: BaseException) -> Self:
        """What the user is told where memory ran out (`memory_ran_out(error)`)."""
        on_gpu = any(
            word in f"{type(error).__name__} {error}" for word in ("OutOfMemoryError", "CUDA", "CUDNN", "CUBLAS", "MPS")
        )
        return cls(
            f"There is not enough memory{' on this GPU' if on_gpu else ''} for this. Choose a smaller image size or backbone, "
            "or fewer stages, then start again."
        )


class LimitReached(GraftError):
    """More jobs, time or memory than the operator allows."""


class Cancelled(GraftError):
    """The user stopped it."""

    exit_code = 130


class WorkerDied(GraftError):
    """A worker ended without a word."""

    exit_code = 1
