import errno
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import PATIENCE
from tl_core.data.cache import Cache, holds_array
from tl_core.disk import size_of
from tl_core.errors import DiskFull, OverBudget


def write(size: int):
    return lambda path: path.write_bytes(b"x" * size)


def filled(cache: Cache, size: int, **used: float) -> None:
    """Fill an entry of `size` bytes for each key, last used at that moment."""
    for key, moment in used.items():
        os.utime(cache.make("pixels", key, write(size)), (moment, moment))


def there(cache: Cache) -> list[str]:
    """The keys of the entries, the least recently used first."""
    return [entry.path.name for entry in cache.entries()]


@pytest.mark.parametrize("folder", [False, True])
def test_an_entry_is_made_once_and_found_again(tmp_path: Path, folder: bool) -> None:
    cache = Cache(tmp_path, 1000)
    made = cache.make("pixels", "a", Path.mkdir if folder else write(10))
    assert made.is_dir() if folder else made.read_bytes() == b"x" * 10
    assert cache.get("pixels", "a") == made
    assert cache.make("pixels", "a", lambda path: pytest.fail("made twice")) == made
    assert cache.get("pixels", "b") is None


def test_the_entry_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 250, spare_seconds=0)
    filled(cache, 80, old=1, older=2, young=3)
    cache.get("pixels", "old")
    cache.make("features", "new", write(80))
    assert set(there(cache)) == {"old", "young", "new"}
    assert size_of(tmp_path) <= 250


def test_what_was_just_used_is_spared(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 100)
    for key in ("a", "b"):
        cache.make("pixels", key, write(80))
    assert set(there(cache)) == {"a", "b"}


def test_a_memory_map_outlives_its_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10_000, spare_seconds=0)
    path = cache.make("pixels", "a", lambda path: np.save(path.open("wb"), np.arange(100)))
    mapped = np.load(path, mmap_mode="r")
    os.utime(path, (1, 1))
    Cache(tmp_path, 0, spare_seconds=0).evict()
    assert cache.get("pixels", "a") is None
    assert mapped.sum() == 4950


@pytest.mark.parametrize(
    ("error", "raised"),
    [(RuntimeError("no"), RuntimeError), (OSError(errno.ENOSPC, "No space left on device"), DiskFull)],
)
def test_a_half_written_entry_is_never_seen_and_a_full_disk_is_said_in_words(
    tmp_path: Path, error: Exception, raised: type[Exception]
) -> None:
    cache = Cache(tmp_path, 1000)

    def fails(path: Path) -> None:
        path.write_bytes(b"half")
        raise error

    with pytest.raises(raised, match=r"no|disk is full"):
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


ARRAY = np.arange(30, dtype=np.float32).reshape(10, 3)


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "damaged",
    [npy(ARRAY)[:-1], npy(ARRAY[:4]), npy(ARRAY.astype(np.float64)), b"\x80noise" * 40, b"", None],
    ids=["cut", "shape", "type", "noise", "empty", "folder"],
)
def test_a_damaged_array_is_made_again(tmp_path: Path, damaged: bytes | None) -> None:
    place = tmp_path / "features" / "a"
    place.parent.mkdir()
    if damaged is None:
        place.mkdir()
    else:
        place.write_bytes(damaged)
    cache = Cache(tmp_path, 10_000)
    cache.make("features", "a", lambda path: path.write_bytes(npy(ARRAY)) and None, whole=holds_array(np.float32, 10))
    assert place.read_bytes() == npy(ARRAY)
    assert there(cache) == ["a"]


def test_old_entries_make_way_for_what_needs_more_than_the_disk_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path, 10_000, spare_seconds=0)
    filled(cache, 100, oldest=1, older=2, newest=3)
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
    assert there(cache) == ["newest", "large"]


def test_a_wish_that_cannot_be_met_is_refused_and_takes_nothing_from_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = Cache(tmp_path, 1000, spare_seconds=0)
    filled(cache, 400, a=1, b=2)
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
    assert there(cache) == ["a", "b"]


def test_an_entry_that_turns_out_larger_than_the_cache_does_not_stay(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1000, spare_seconds=0)
    filled(cache, 400, other=1)
    with pytest.raises(OverBudget, match="GRAFT_CACHE_GB"):
        cache.make("pixels", "large", write(50_000))
    assert there(cache) == ["other"]
    assert size_of(tmp_path) == 400


def test_no_more_goes_than_has_to_go(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 1000, spare_seconds=0)
    filled(cache, 300, oldest=1, older=2, newest=3)
    with cache.entry("pixels", "next", needed=350) as entry:
        assert there(cache) == ["older", "newest"]
        entry.temporary.write_bytes(b"x" * 350)
        entry.commit()
    assert there(cache) == ["older", "newest", "next"]


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
    filled(cache, 10, old=10, young=30)
    for entry in cache.unused(since=20):
        cache.drop(entry)
    assert there(cache) == ["young"]
    assert Cache(tmp_path, 10_000, spare_seconds=1e12).unused(since=40) == [], "somebody may be about to open it"


def test_what_comes_of_some_pictures_is_forgotten_with_them(tmp_path: Path) -> None:
    cache = Cache(tmp_path, 10_000)
    for kind, key in (("pixels", "aa-1"), ("features", "aa-2"), ("features", "ab-2"), ("backbones", "net-aa")):
        cache.make(kind, key, write(1))
    cache.forget("aa")
    assert set(there(cache)) == {"ab-2", "net-aa"}
