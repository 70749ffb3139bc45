"""A data set as one array: the order of its rows, decoded once, never half there, and taken from that of a version before it."""

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import picture
from tests.data.test_split import balanced, manifest
from tests.data.work import finish
from tl_core.data.cache import Cache
from tl_core.data.pixel_arrays import Earlier, earlier, load_pixels, take_rows
from tl_core.data.pixels import read_input
from tl_core.data.remedying import applied, grown
from tl_core.disk import size_of
from tl_core.documents.manifest import COPIES, ImageEntry, Manifest, Remedies
from tl_core.errors import DataError


def dataset(folder: Path, count: int) -> Manifest:
    (folder / "images").mkdir(parents=True)
    entries = []
    for index in range(count):
        picture(0, index).save(folder / "images" / f"{index}.png")
        entries.append(
            ImageEntry(sha256=f"{index:064x}", label=0, name="x.png", file=f"{index}.png", width=64, height=48)
        )
    return Manifest(name="n", created=0, source="s", classes=("a",), images=tuple(entries))


def test_pixels_are_in_manifest_order_and_decoded_once(tmp_path: Path) -> None:
    manifest = dataset(tmp_path / "d", 9)
    cache = Cache(tmp_path / "cache", 10**9)
    events, array = finish(load_pixels(tmp_path / "d", manifest, size=32, interpolation="bicubic", cache=cache))
    assert array.shape == (9, 32, 32, 3)
    assert not array.flags.writeable
    for row in range(9):
        assert (array[row] == read_input(tmp_path / "d" / "images" / f"{row}.png", 32, "bicubic")).all()
    assert events[-1].done == events[-1].total == 9

    again, same = finish(load_pixels(tmp_path / "d", manifest, size=32, interpolation="bicubic", cache=cache))
    assert again == []
    assert (same == array).all()
    other, _ = finish(load_pixels(tmp_path / "d", manifest, size=24, interpolation="bicubic", cache=cache))
    assert other


def test_a_missing_copy_is_said_in_words_and_leaves_no_half_array(tmp_path: Path) -> None:
    manifest = dataset(tmp_path / "d", 3)
    (tmp_path / "d" / "images" / "1.png").unlink()
    cache = Cache(tmp_path / "cache", 10**9)
    with pytest.raises(DataError, match="missing or damaged"):
        finish(load_pixels(tmp_path / "d", manifest, size=32, interpolation="bicubic", cache=cache))
    assert size_of(cache.root) == 0


def test_a_run_that_is_closed_half_way_leaves_no_half_array(tmp_path: Path) -> None:
    manifest = dataset(tmp_path / "d", 30)
    cache = Cache(tmp_path / "cache", 10**9)
    generator = load_pixels(tmp_path / "d", manifest, size=32, interpolation="bicubic", cache=cache)
    next(generator)
    next(generator)
    generator.close()
    assert size_of(cache.root) == 0
    _, array = finish(load_pixels(tmp_path / "d", manifest, size=32, interpolation="bicubic", cache=cache))
    assert array.any(axis=(1, 2, 3)).all()


def test_a_copy_that_was_changed_afterwards_is_not_taken(tmp_path: Path) -> None:
    plain = dataset(tmp_path / "d", 3)
    files = [tmp_path / "d" / "images" / image.file for image in plain.images]
    summed = [
        image.model_copy(update={"crc32": zlib.crc32(file.read_bytes())})
        for image, file in zip(plain.images, files, strict=True)
    ]
    manifest = plain.model_copy(update={"images": tuple(summed), "copies": COPIES})
    cache = Cache(tmp_path / "cache", 10**9)
    finish(load_pixels(tmp_path / "d", manifest, size=32, interpolation="bicubic", cache=cache))
    files[1].write_bytes(files[2].read_bytes())
    with pytest.raises(DataError, match=r"copy of x\.png .* missing or damaged"):
        finish(load_pixels(tmp_path / "d", manifest, size=24, interpolation="bicubic", cache=cache))


def _cached(root: Path, key: str, array: NDArray[np.generic]) -> Cache:
    cache = Cache(root, 10**7)

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, array)

    cache.make("features", key, write)
    return cache


@pytest.fixture
def second() -> Manifest:
    return applied(manifest(balanced(2, 6)), Remedies(leave_out=("1.jpg", "7.jpg")))


def test_rows_are_taken_from_the_entry_of_the_version_before(
    tmp_path: Path, second: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tl_core.data.pixel_arrays._COPIED_AT_ONCE", 50)
    whole = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    sources = earlier(second, lambda one: one.content[:16])
    cache = _cached(tmp_path, sources[0].key, whole)
    assert take_rows(cache, "features", sources, tmp_path / "taken.npy", np.float32)
    np.testing.assert_array_equal(np.load(tmp_path / "taken.npy"), np.delete(whole, [1, 7], axis=0))


def test_no_rows_are_taken_from_a_version_that_lacks_some(second: Manifest) -> None:
    larger = grown(second, manifest([*balanced(2, 6), (0, "fffff", None)]))
    assert earlier(larger, lambda one: one.content[:16]) == []


@pytest.mark.parametrize(
    "broken", [lambda whole: whole[:-1], lambda whole: whole.astype(np.float64)], ids=["too short", "of another kind"]
)
def test_an_entry_that_is_not_what_it_should_be_is_not_taken(
    tmp_path: Path, second: Manifest, broken: Callable[[NDArray[np.float32]], NDArray[np.generic]]
) -> None:
    sources: list[Earlier] = earlier(second, lambda one: one.content[:16])
    cache = _cached(tmp_path, sources[0].key, broken(np.zeros((12, 3), dtype=np.float32)))
    assert not take_rows(cache, "features", sources, tmp_path / "taken.npy", np.float32)
    (cache.root / "features" / sources[0].key).write_bytes(b"no array")
    assert not take_rows(cache, "features", sources, tmp_path / "taken.npy", np.float32)
    assert not (tmp_path / "taken.npy").exists()
