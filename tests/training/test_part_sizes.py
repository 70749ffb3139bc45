"""Parts of many images double until the memory is full, and are halved where it runs out."""

import gc
import weakref
from collections.abc import Callable

import numpy as np
import pytest

from tl_core.errors import DeviceError
from tl_core.training.part_sizes import PartSize, in_parts

FULL = "CUDA out of memory."


class Room:
    """Memory for `most` images; `tried` are the sizes of the parts that were tried."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.tried: list[int] = []

    def __call__(self, part: slice) -> list[int]:
        self.tried.append(part.stop - part.start)
        if part.stop - part.start > self.most:
            raise RuntimeError(FULL)
        return list(range(part.start, part.stop))


def _all(work: Callable[[slice], list[int]], count: int, images: PartSize) -> list[int]:
    parts = list(in_parts(work, count, images, make_room=lambda: None))
    assert [end for end, _ in parts][-1] == count
    return [image for _, found in parts for image in found if image < count]


def test_parts_double_and_what_did_not_fit_is_not_tried_again_nor_in_a_later_pass() -> None:
    room, images = Room(11), PartSize(2, largest=64)
    assert _all(room, 50, images) == list(range(50))
    assert room.tried == [2, 4, 8, 16, 8, 8, 8, 8, 8]
    assert images == PartSize(8, largest=8)
    assert _all(room, 20, images) == list(range(20))
    assert room.tried[9:] == [8, 8, 8], "a later pass begins with what an earlier one found"


def test_a_last_part_that_is_not_whole_says_nothing_of_a_larger_one() -> None:
    images = PartSize(4, largest=4)
    _all(Room(100), 6, images)
    images.largest = 64
    _all(Room(100), 3, images)
    assert images.size == 4


def test_the_largest_part_and_a_result_that_may_not_double_end_it() -> None:
    room, images = Room(100), PartSize(2, largest=9)
    _all(room, 40, images)
    assert images.size == 8
    images = PartSize(2, largest=64)
    list(in_parts(room, 40, images, make_room=lambda: None, may_double=lambda found: len(found) < 4))
    assert images.size == 4


def test_not_even_one_image_is_said_in_words_and_other_errors_are_passed_on() -> None:
    with pytest.raises(DeviceError, match="smaller image size"):
        _all(Room(0), 5, PartSize(4))
    with pytest.raises(RuntimeError, match=FULL):
        list(in_parts(Room(0), 5, PartSize(4)))

    def broken(part: slice) -> list[int]:
        raise RuntimeError("shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="shapes"):
        _all(broken, 5, PartSize(4))


def test_room_is_made_when_nothing_holds_what_did_not_fit() -> None:
    held: list[weakref.ref[np.ndarray]] = []
    alive: list[bool] = []

    def work(part: slice) -> int:
        array = np.zeros(8)
        held.append(weakref.ref(array))
        if part.stop - part.start > 2:
            raise RuntimeError(FULL)
        return int(array.sum())

    gc.disable()
    try:
        list(in_parts(work, 4, PartSize(4), make_room=lambda: alive.append(held[-1]() is not None)))
    finally:
        gc.enable()
    assert alive == [False]
