import errno
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import PATIENCE
from tl_core.data.cache import Cache, holds_array
from tl_core.disk import size_of
from tl_core.errors import DiskFull, OverBudget


def write(size: int):
    return lambda path: path.write_bytes(b"x" * size)


def test_an_entry_is_made_once_and_found_again(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1000)
    made = cache.make("pixels", "a", write(10))
    assert made.read_bytes() == b"x" * 10
    assert cache.get("pixels", "a") == made
    assert cache.make("pixels", "a", lambda path: pytest.fail("made twice")) == made
    assert cache.get("pixels", "b") is None


def test_the_cache_keeps_whole_folders(tmp_path: Path) -> None:
    def fill(path: Path) -> None:
        path.mkdir()
        (path / "one").write_text("1")

    folder = Cache(tmp_path, 1000).make("backbones", "a", fill)
    assert (folder / "one").read_text() == "1"


def test_the_entry_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 250, spare_seconds=0)
    for key, age in (("old", 300), ("older", 200), ("young", 100)):
        path = cache.make("pixels", key, write(80))
        os.utime(path, (time.time() - age, time.time() - age))
    cache.get("pixels", "old")
    cache.make("features", "new", write(80))
    assert cache.get("pixels", "older") is None
    assert cache.get("pixels", "old")
    assert cache.get("pixels", "young")
    assert cache.get("features", "new")
    assert size_of(tmp_path) <= 250


def test_what_was_just_used_is_spared(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 100)
    cache.make("pixels", "a", write(80))
    cache.make("pixels", "b", write(80))
    assert cache.get("pixels", "a")
    assert cache.get("pixels", "b")


def test_a_memory_map_outlives_its_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10_000, spare_seconds=0)
    path = cache.make("pixels", "a", lambda path: np.save(path.open("wb"), np.arange(100)))
    mapped = np.load(path, mmap_mode="r")
    os.utime(path, (1, 1))
    Cache(tmp_path, 0, spare_seconds=0).evict()
    assert cache.get("pixels", "a") is None
    assert mapped.sum() == 4950


def test_a_half_written_entry_is_never_seen(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1000)

    def fails(path: Path) -> None:
        path.write_bytes(b"half")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        cache.make("pixels", "a", fails)
    assert cache.get("pixels", "a") is None
    assert size_of(tmp_path) == 0


def test_what_a_killed_process_left_is_swept(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1000)
    (tmp_path / "pixels").mkdir()
    (tmp_path / "pixels" / ".a.partial").write_bytes(b"half")
    with cache.entry("pixels", "b") as busy:
        busy.temporary.write_bytes(b"being written")
        cache.evict()
        assert busy.temporary.exists()
    assert not (tmp_path / "pixels" / ".a.partial").exists()


def test_a_full_disk_is_said_in_words(tmp_path: Path) -> None:
    def fails(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(DiskFull, match="disk is full"):
        Cache(tmp_path, 1000).make("pixels", "a", fails)


_SLOW = """
import sys, time
from pathlib import Path
from tl_core.data.cache import Cache

def fill(path):
    with Path(sys.argv[2]).open("a") as file:
        file.write("made\\n")
    time.sleep(0.3)
    path.write_text("done")

Cache(Path(sys.argv[1]), 1000).make("pixels", "a", fill)
"""


def test_a_second_process_waits_and_finds_the_entry(tmp_path: Path) -> None:
    log = tmp_path / "log"
    processes = [subprocess.Popen([sys.executable, "-c", _SLOW, tmp_path / "cache", log]) for _ in range(2)]
    assert [process.wait(PATIENCE) for process in processes] == [0, 0]
    assert log.read_text() == "made\n"


@pytest.mark.parametrize("key", ["", "..", "a/b", "../a", ".hidden", "a\n"])
def test_a_key_is_never_a_path(tmp_path: Path, key: str) -> None:
    with pytest.raises(ValueError, match="not a cache key"):
        Cache(tmp_path, 1000).get("pixels", key)


@pytest.mark.parametrize("damage", ["cut", "shape", "type", "noise", "empty", "folder"])
def test_a_damaged_array_is_made_again(tmp_path: Path, damage: str) -> None:
    cache = Cache(tmp_path, 10_000)
    array = np.arange(30, dtype=np.float32).reshape(10, 3)

    def save(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, array)

    def load() -> Path:
        return cache.make("features", "a", save, whole=holds_array(np.float32, 10))

    path = load()
    good = path.read_bytes()
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage in ("shape", "type"):
        with path.open("wb") as file:
            np.save(file, array[:4] if damage == "shape" else array.astype(np.float64))
    else:
        path.write_bytes({"cut": good[:-1], "noise": b"\x80noise" * 40, "empty": b""}[damage])
    assert load().read_bytes() == good
    assert [entry.name for entry in (tmp_path / "features").iterdir()] == ["a"]


def test_old_entries_make_way_for_what_needs_more_than_the_disk_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path, 10_000, spare_seconds=0)
    for age, key in enumerate(("newest", "older", "oldest")):
        path = cache.make("pixels", key, lambda path: path.write_bytes(b"x" * 100) and None)
        os.utime(path, (1000 - age, 1000 - age))
    free = {"bytes": 50}
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        moved = real(path, target)
        free["bytes"] += 100 if str(target).endswith(".gone") else 0
        return moved

    monkeypatch.setattr(Path, "rename", rename)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1000, 0, free["bytes"]))
    with cache.entry("pixels", "large", needed=200) as entry:
        entry.temporary.write_bytes(b"y")
        entry.commit()
    assert [key for key in ("newest", "older", "oldest") if cache.get("pixels", key)] == ["newest"]


def test_a_wish_that_cannot_be_met_is_refused_and_takes_nothing_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path, 1000, spare_seconds=0)
    for key in ("a", "b"):
        os.utime(cache.make("pixels", key, write(400)), (1, 1))
    with (
        pytest.raises(OverBudget, match=r"50 kB of the cache, which may have 1 kB \(GRAFT_CACHE_GB\)"),
        cache.entry("pixels", "large", needed=50_000),
    ):
        pytest.fail("was filled")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1000, 900, 100))
    tight = Cache(tmp_path, 1000, free_bytes=10_000, spare_seconds=0)
    assert tight.room() == 850, "a twentieth of the disk stays free"
    with pytest.raises(DiskFull, match="has room for"), tight.entry("pixels", "large", needed=900):
        pytest.fail("was filled")
    assert cache.get("pixels", "a")
    assert cache.get("pixels", "b")


def test_an_entry_that_turns_out_larger_than_the_cache_does_not_stay(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1000, spare_seconds=0)
    other = cache.make("pixels", "other", write(400))
    os.utime(other, (1, 1))
    with pytest.raises(OverBudget, match="GRAFT_CACHE_GB"):
        cache.make("pixels", "large", write(50_000))
    assert [entry.path for entry in cache.entries()] == [other]
    assert size_of(tmp_path) == 400


def test_no_more_goes_than_has_to_go(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1000, spare_seconds=0)
    for age, key in enumerate(("newest", "older", "oldest")):
        os.utime(cache.make("pixels", key, write(300)), (1000 - age, 1000 - age))
    with cache.entry("pixels", "next", needed=350) as entry:
        assert [one.path.name for one in cache.entries()] == ["older", "newest"]
        entry.temporary.write_bytes(b"x" * 350)
        entry.commit()
    assert [one.path.name for one in cache.entries()] == ["older", "newest", "next"]


def test_what_is_being_filled_counts(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1000, spare_seconds=0)
    with cache.entry("pixels", "first", needed=700) as first:
        first.temporary.write_bytes(b"x" * 700)
        assert cache.room() == 300
        with pytest.raises(OverBudget, match="other jobs are filling"), cache.entry("pixels", "second", needed=400):
            pytest.fail("was filled")
        first.commit()
    assert cache.get("pixels", "first")


def test_what_was_not_used_since_a_moment_can_be_dropped(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10_000, spare_seconds=0)
    for key, used in (("old", 10), ("young", 30)):
        os.utime(cache.make("features", key, write(10)), (used, used))
    for entry in cache.unused(since=20):
        cache.drop(entry)
    assert [entry.path.name for entry in cache.entries()] == ["young"]
    assert Cache(tmp_path, 10_000, spare_seconds=1e12).unused(since=40) == [], "somebody may be about to open it"


def test_what_comes_of_some_pictures_is_forgotten_with_them(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10_000)
    for kind, key in (("pixels", "aa-1"), ("features", "aa-2"), ("features", "ab-2"), ("backbones", "net-aa")):
        cache.make(kind, key, lambda path: path.write_bytes(b"x") and None)
    cache.forget("aa")
    assert cache.get("pixels", "aa-1") is None
    assert cache.get("features", "aa-2") is None
    assert cache.get("features", "ab-2")
    assert cache.get("backbones", "net-aa")
