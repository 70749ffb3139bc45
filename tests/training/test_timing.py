"""Work is timed when it is warm, and what was found by timing is not looked for again on the same machine."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tl_core.data.cache import Cache
from tl_core.documents.base import Record
from tl_core.training import timing
from tl_core.training.timing import answer_key, recalled, remembered, timed


class Found(Record):
    seconds: float


def test_the_first_and_slower_time_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, lengths = [0.0], iter((50.0, 3.0, 2.0))
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])

    def work() -> None:
        clock[0] += next(lengths)

    def prepare() -> None:
        clock[0] += 1000.0

    assert timed(work, before=prepare) == 2.0


def test_an_answer_is_found_once_for_each_machine_device_and_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, asked = Cache(tmp_path, 10**6), []

    def find(path: Path) -> Found:
        asked.append(path)
        path.write_bytes(b"scratch")
        return Found(seconds=len(asked))

    key = answer_key("layout", "cpu", "resnet18", 224)
    assert recalled(cache, key, Found) is None
    assert [remembered(cache, key, Found, find).seconds for _ in range(2)] == [1, 1]
    assert recalled(cache, key, Found) == Found(seconds=1)
    assert answer_key("layout", "cpu", "resnet18", 192) != key
    assert answer_key("keeping", "cpu", "resnet18", 224) != key
    monkeypatch.setattr(timing, "machine", lambda device: "another machine")
    assert answer_key("layout", "cpu", "resnet18", 224) != key


def test_a_damaged_answer_is_found_again(tmp_path: Path) -> None:
    cache, key = Cache(tmp_path, 10**6), answer_key("layout", "cpu")
    remembered(cache, key, bool, lambda path: True)
    (entry,) = (tmp_path / "activations").iterdir()
    entry.unlink()
    entry.write_bytes(b"{")
    assert recalled(cache, key, bool) is None
    assert remembered(cache, key, bool, lambda path: False) is False
