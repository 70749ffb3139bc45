from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tl_core.data.split import assign, group_keys, split_counts, split_hashes
from tl_core.documents.manifest import ImageEntry, Manifest, Split


def manifest(rows: list[tuple[int, str, Split | None]]) -> Manifest:
    classes = tuple(f"class {label}" for label in range(max(row[0] for row in rows) + 1))
    images = tuple(
        ImageEntry(sha256=f"{content:0>64}", label=label, split=split, name=content, file=f"{i}.jpg", width=9, height=9)
        for i, (label, content, split) in enumerate(rows)
    )
    return Manifest(name="m", created=0, source="s", classes=classes, images=images)


def balanced(
    classes: int, each: int, split: Split | None = None, start: int = 0
) -> list[tuple[int, str, Split | None]]:
    return [(label, f"{start + label * 1000 + i:x}", split) for label in range(classes) for i in range(each)]


def test_our_own_split_is_stratified_70_15_15() -> None:
    data = manifest(balanced(3, 100))
    assert split_counts(data, assign(data, 0)) == {
        f"class {label}": {"train": 70, "val": 15, "test": 15} for label in range(3)
    }


def test_the_seed_decides_and_nothing_else() -> None:
    rows = balanced(2, 50)
    data, turned = manifest(rows), manifest(rows[::-1])
    assert (assign(data, 1) == assign(data, 1)).all()
    assert (assign(data, 1) != assign(data, 2)).any()
    assert (assign(data, 1) == assign(turned, 1)[::-1]).all()
    assert split_hashes(data, assign(data, 1)) == split_hashes(turned, assign(turned, 1))
    assert split_hashes(data, assign(data, 1)) != split_hashes(data, assign(data, 2))


@pytest.mark.parametrize("each", [3, 5, 6, 7, 13])
def test_every_class_is_in_every_part(each: int) -> None:
    data = manifest(balanced(4, each))
    for counts in split_counts(data, assign(data, 3)).values():
        assert min(counts.values()) >= 1
        assert counts["train"] == max(counts.values())


@pytest.mark.parametrize("seed", range(5))
def test_the_same_bytes_under_two_labels_are_on_one_side(seed: int) -> None:
    rows = balanced(2, 40) + [(1, f"{i:x}", None) for i in range(10)]
    data = manifest(rows)
    sides: dict[str, set[str]] = {}
    for image, split in zip(data.images, assign(data, seed), strict=True):
        sides.setdefault(image.sha256, set()).add(str(split))
    assert all(len(side) == 1 for side in sides.values())


@pytest.mark.parametrize("seed", range(5))
def test_a_small_class_shared_with_a_large_one_is_still_judged(seed: int) -> None:
    data = manifest(balanced(1, 100) + [(1, f"{i:x}", None) for i in range(6)])
    assert min(split_counts(data, assign(data, seed))["class 1"].values()) >= 1


def test_the_users_three_splits_stay() -> None:
    rows = balanced(2, 20, "train") + balanced(2, 5, "val", 5000) + balanced(2, 6, "test", 9000)
    data = manifest(rows)
    assert assign(data, 0).tolist() == [row[2] for row in rows]


def test_train_and_test_gets_a_validation_split_from_train() -> None:
    rows = balanced(2, 40, "train") + balanced(2, 6, "test", 9000)
    splits = assign(manifest(rows), 0)
    assert (splits[80:] == "test").all()
    assert Counter(splits[:80].tolist()) == {"train": 68, "val": 12}
    assert (assign(manifest(rows), 0) == splits).all()
    assert (assign(manifest(rows), 1) != splits).any()


def test_train_and_val_only_makes_theirs_the_test_split() -> None:
    rows = balanced(2, 40, "train") + balanced(2, 6, "val", 9000)
    splits = assign(manifest(rows), 0)
    assert (splits[80:] == "test").all()
    assert Counter(splits[:80].tolist()) == {"train": 68, "val": 12}


def test_a_leak_across_the_users_splits_is_kept_where_it_lies() -> None:
    rows = [*balanced(2, 20, "train"), (0, "0", "test"), (1, "fffff", "test")]
    splits = assign(manifest(rows), 0)
    assert splits[-2:].tolist() == ["test", "test"]
    assert isinstance(splits, np.ndarray)


def test_a_group_is_one_content_whatever_the_order() -> None:
    rows = [(0, "c", None), (0, "a", None), (1, "c", None), (1, "b", None)]
    assert group_keys(manifest(rows)).tolist() == [2, 0, 2, 1]
    assert group_keys(manifest(rows[::-1])).tolist() == [1, 2, 0, 2]
