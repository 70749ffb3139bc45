"""Work on many images in parts that are as large as the memory of a device allows, found by doubling. Imports no torch."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from tl_core.errors import DeviceError, memory_ran_out

Result = TypeVar("Result")


@dataclass
class PartSize:
    """How many images are worked on together. `in_parts` changes it, so a later pass begins with what an earlier one found."""

    size: int
    largest: int = 0
    """The size doubles no further than this."""


def in_parts(
    work: Callable[[slice], Result],
    count: int,
    images: PartSize,
    *,
    make_room: Callable[[], None] | None = None,
    may_double: Callable[[Result], bool] = lambda result: True,
) -> Iterator[tuple[int, Result]]:
    """What `work` gives for each part of `count` images, in order, with the number of the first image after the part.

    After each whole part of which the result `may_double`, the size doubles. Where memory runs out, `make_room` is called, the part is
    halved, and the size doubles no more. Without `make_room`, errors are passed on.

    Raises:
        DeviceError: with `make_room`, not even one image fits the memory.
    """
    start = 0
    while start < count:
        part = slice(start, start + images.size)
        try:
            result = work(part)
        except RuntimeError as error:
            if make_room is None or not memory_ran_out(error):
                raise
            if images.size == 1:
                raise DeviceError.of_memory(error) from error
        else:
            start = min(part.stop, count)
            if part.stop <= count and 2 * images.size <= images.largest and may_double(result):
                images.size *= 2
            yield start, result
            continue
        # Only here, where the error is forgotten, nothing holds the arrays of the part that did not fit.
        images.size = images.largest = images.size // 2
        make_room()
