"""A version of a data set: pictures left out, moved and kept, and what stays as it was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.data.test_split import balanced, manifest
from tl_core.data.cache import Cache
from tl_core.data.checks import findings
from tl_core.data.split import assign, split_counts
from tl_core.data.versions import Earlier, applied, difference, earlier, take_rows
from tl_core.documents.manifest import Former, Manifest, Split
from tl_core.documents.remedies import Remedies
from tl_core.errors import SpecError


def test_pictures_are_left_out_and_moved_and_the_others_stay_in_their_order() -> None:
    data = manifest(balanced(3, 10))
    found = applied(data, Remedies(leave_out=("3.jpg", "29.jpg"), move={"0.jpg": "class 2"}, keep=("5.jpg",)))
    assert [image.file for image in found.images] == [f"{row}.jpg" for row in range(29) if row != 3]
    assert found.counts() == {"class 0": 8, "class 1": 10, "class 2": 10}
    assert found.images[0].label == 2
    assert [image.file for image in found.images if image.reviewed] == ["0.jpg", "5.jpg"]
    assert found.content != data.content
    assert data.counts() == {"class 0": 10, "class 1": 10, "class 2": 10}
    assert "parent" not in found.model_dump_json()


def test_a_class_without_pictures_is_one_no_longer() -> None:
    data = manifest(balanced(3, 6))
    found = applied(data, Remedies(move={f"{row}.jpg": "class 2" for row in range(6, 12)}))
    assert found.classes == ("class 0", "class 2")
    assert found.counts() == {"class 0": 6, "class 2": 12}
    assert found.content == data.content


@pytest.mark.parametrize(
    ("remedies", "said"),
    [
        (Remedies(leave_out=("99.jpg",)), "no picture '99.jpg'"),
        (Remedies(move={"0.jpg": "horse"}), "no class 'horse'. The classes are 'class 0', 'class 1'"),
        (Remedies(leave_out=tuple(f"{row}.jpg" for row in range(12))), "Every picture would be left out"),
    ],
)
def test_what_cannot_be_done_is_refused_in_words(remedies: Remedies, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        applied(manifest(balanced(2, 6)), remedies)


def test_a_version_of_a_version_knows_its_rows_in_both() -> None:
    data = manifest(balanced(2, 6))
    second = applied(data, Remedies(leave_out=("1.jpg",), keep=("4.jpg",)))
    third = applied(second, Remedies(leave_out=("0.jpg",), move={"3.jpg": "class 1"}))
    (before, rows), (read, first_rows) = third.ancestors()
    assert before is second
    assert read is data
    assert [second.images[row].file for row in rows] == [image.file for image in third.images]
    assert [data.images[row].file for row in first_rows] == [image.file for image in third.images]
    assert difference(third) == Remedies(leave_out=("0.jpg", "1.jpg"), move={"3.jpg": "class 1"}, keep=("4.jpg",))
    again = applied(data, difference(third))
    assert (again.images, again.classes) == (third.images, third.classes)
    assert not difference(data)


@pytest.mark.parametrize("seed", range(3))
def test_pictures_stay_in_the_parts_that_they_were_in(seed: int) -> None:
    data = manifest(balanced(3, 40))
    found = applied(data, Remedies(leave_out=("1.jpg", "50.jpg"), move={"2.jpg": "class 1"}))
    part = dict(zip((image.file for image in data.images), assign(data, seed), strict=True))
    assert [part[image.file] for image in found.images] == assign(found, seed).tolist()


def test_a_class_that_would_miss_a_part_is_cut_again() -> None:
    data = manifest(balanced(2, 30))
    tested = [
        image.file
        for image, part in zip(data.images, assign(data, 0), strict=True)
        if part == "test" and image.label == 1
    ]
    found = applied(data, Remedies(leave_out=tuple(tested)))
    assert min(split_counts(found, assign(found, 0))["class 1"].values()) >= 1


def test_the_users_own_parts_stay() -> None:
    data = manifest(balanced(2, 10, "train") + balanced(2, 3, "test", start=500))
    found = applied(data, Remedies(move={"20.jpg": "class 1"}, leave_out=("0.jpg",)))
    parts = dict(zip((image.file for image in found.images), assign(found, 0), strict=True))
    assert {parts[f"{row}.jpg"] for row in range(20, 26)} == {"test"}
    assert "test" not in {parts[f"{row}.jpg"] for row in range(1, 20)}


def test_a_class_of_five_is_in_every_part_of_a_version() -> None:
    data = manifest(balanced(2, 20))
    tested = {image.file for image, part in zip(data.images, assign(data, 0), strict=True) if part == "test"}
    cats = [image.file for image in data.images if image.label == 0]
    kept = [file for file in cats if file not in tested][:5]
    found = applied(data, Remedies(leave_out=tuple(file for file in cats if file not in kept)))
    assert split_counts(found, assign(found, 0))["class 0"] == {"train": 3, "val": 1, "test": 1}


def test_what_was_added_to_a_data_set_is_known_in_its_versions() -> None:
    former = Former(images=30, classes=("class 0", "class 1"), groups=(7, *[None] * 28, 8))
    data = manifest([*balanced(2, 15), (0, "a1", None), (1, "a2", None)]).model_copy(update={"former": (former,)})
    found = applied(data, Remedies(leave_out=("0.jpg", "31.jpg")))
    assert [image.file for image in found.added] == ["30.jpg"]
    assert found.former[0].groups == (*[None] * 28, 8)


@pytest.mark.parametrize("parts", [("train", "test"), ("train", "val"), ("train", "val", "test")])
def test_a_part_of_the_users_own_that_is_emptied_is_made_again(parts: tuple[Split, ...]) -> None:
    data = manifest([row for at, part in enumerate(parts) for row in balanced(2, 20, part, start=100 * at)])
    for emptied in ({part} for part in parts[1:]):
        found = applied(data, Remedies(leave_out=tuple(image.file for image in data.images if image.split in emptied)))
        counts = split_counts(found, assign(found, 0))
        assert all(min(of_class.values()) >= 1 for of_class in counts.values()), (emptied, counts)
    alone = applied(data, Remedies(leave_out=tuple(image.file for image in data.images if image.split != "train")))
    assert not alone.own_splits
    assert split_counts(alone, assign(alone, 0))["class 1"] == {"train": 14, "val": 3, "test": 3}


def test_what_the_user_keeps_is_found_no_more() -> None:
    data = manifest([*balanced(2, 30), (1, "0", None)])
    two = next(finding for finding in findings(data) if finding.kind == "two_labels")
    files = [data.images[row].file for row in two.rows]
    assert files == ["0.jpg", "60.jpg"]
    kept = applied(data, Remedies(keep=tuple(files)))
    assert "two_labels" not in {finding.kind for finding in findings(kept)}
    assert "two_labels" in {finding.kind for finding in findings(applied(data, Remedies(keep=("0.jpg",))))}


def test_later_remedies_take_the_place_of_earlier_ones() -> None:
    first = Remedies(leave_out=("a", "b"), move={"c": "x"}, keep=("d",))
    assert first.then(Remedies(leave_out=("c",), move={"a": "y"}, keep=("b",))) == Remedies(
        leave_out=("c",), move={"a": "y"}, keep=("d", "b")
    )
    assert len(first) == 4
    assert first.without({"a", "c", "d"}) == Remedies(leave_out=("b",))


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
    monkeypatch.setattr("tl_core.data.versions._COPIED_AT_ONCE", 50)
    whole = np.random.default_rng(0).normal(size=(12, 3)).astype(np.float32)
    sources = earlier(second, lambda one: one.content[:16])
    cache = _cached(tmp_path, sources[0].key, whole)
    assert take_rows(cache, "features", sources, tmp_path / "taken.npy", np.float32)
    np.testing.assert_array_equal(np.load(tmp_path / "taken.npy"), np.delete(whole, [1, 7], axis=0))


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
