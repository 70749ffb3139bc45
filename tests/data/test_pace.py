import threading
import time
from contextlib import closing
from itertools import islice

import pytest

from tl_core.data.pace import Pace, in_order


def test_results_come_in_order_whoever_is_done_first() -> None:
    def work(number: int) -> int:
        time.sleep(0.002 * (5 - number % 5))
        return number

    assert list(in_order(work, 40)) == list(range(40))
    assert list(in_order(work, 0)) == []


def test_no_more_is_done_ahead_than_may_wait() -> None:
    done: list[int] = []
    with closing(in_order(lambda number: done.append(number), 1000, ahead=6)) as results:
        list(islice(results, 10))
        time.sleep(0.05)
        assert len(done) <= 17


def test_an_error_comes_in_its_place_and_ends_the_rest() -> None:
    def work(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        return number

    results = in_order(work, 100, ahead=2)
    seen = list(islice(results, 3))
    with pytest.raises(ValueError, match="three"):
        next(results)
    with pytest.raises(StopIteration):
        next(results)
    assert seen == [0, 1, 2]


def test_closing_leaves_no_thread_behind() -> None:
    before = threading.active_count()
    results = in_order(lambda number: time.sleep(0.01), 100)
    next(results)
    results.close()
    assert threading.active_count() == before


def test_progress_comes_at_most_four_times_a_second_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(1_000))
    monkeypatch.setattr(time, "monotonic", lambda: next(clock) / 10)
    pace = Pace("reading", 10)
    assert [event.done for done in range(1, 11) for event in pace.at(done)] == [1, 4, 7, 10]
