import hashlib
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pytest

from tl_core.data.remedying import grown
from tl_core.data.split import (
    NO_PART,
    as_recorded,
    assign,
    group_keys,
    leaked,
    of_one_moment,
    recorded,
    split_counts,
    without_headline,
)
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


@pytest.mark.parametrize("other", ["test", "val"])
def test_of_two_parts_of_the_users_own_the_second_is_the_test_split_and_val_is_cut_from_train(other: Split) -> None:
    rows = [*balanced(2, 40, "train"), *balanced(2, 6, other, 9000), (0, "0", other)]
    splits = assign(manifest(rows), 0)
    assert (splits[80:] == "test").all(), "the last one leaks, and is kept where it lies"
    assert Counter(splits[:80].tolist()) == {"train": 68, "val": 12}
    assert (assign(manifest(rows), 0) == splits).all()
    assert (assign(manifest(rows), 1) != splits).any()


def test_a_group_is_one_content_whatever_the_order() -> None:
    rows = [(0, "c", None), (0, "a", None), (1, "c", None), (1, "b", None)]
    assert group_keys(manifest(rows)).tolist() == [2, 0, 2, 1]
    assert group_keys(manifest(rows[::-1])).tolist() == [1, 2, 0, 2]


def grouped(data: Manifest, groups: Mapping[int, int]) -> Manifest:
    """`data` with the group of each row that `groups` names."""
    images = tuple(image.model_copy(update={"group": groups.get(row)}) for row, image in enumerate(data.images))
    return data.model_copy(update={"images": images, "grouped": True})


def sides(data: Manifest, splits: np.ndarray) -> dict[int, set[str]]:
    """The parts in which each group of several pictures is."""
    keys = group_keys(data).tolist()
    return {key: set(splits[[k == key for k in keys]].tolist()) for key in keys if keys.count(key) > 1}


@pytest.mark.parametrize(
    ("data", "digest"),
    [
        (manifest(balanced(3, 40)), "e898464f144b6861"),
        (manifest(balanced(4, 5) + balanced(1, 2, None, 7000)), "bf098329713e278c"),
        (manifest(balanced(2, 40) + [(1, f"{i:x}", None) for i in range(10)]), "4535af70bc830451"),
        (
            grown(manifest(balanced(2, 20)), manifest(balanced(2, 20) + balanced(3, 13, None, 9000))),
            "b257d0016c3bcc81",
        ),
        (manifest(balanced(2, 40, "train") + balanced(2, 6, "test", 9000)), "ba08d5de3a86663c"),
    ],
)
def test_where_no_pictures_belong_together_the_split_is_that_of_former_versions(data: Manifest, digest: str) -> None:
    for found in (data, grouped(data, {})):
        parts = "".join("".join(assign(found, seed).tolist()) for seed in range(20))
        assert hashlib.sha256(parts.encode()).hexdigest()[:16] == digest


@pytest.mark.parametrize("seed", range(5))
def test_a_group_is_on_one_side_and_each_class_keeps_its_shares(seed: int) -> None:
    data = grouped(manifest(balanced(3, 100)), {row: row // 4 for row in range(0, 200)})
    splits = assign(data, seed)
    assert all(len(side) == 1 for side in sides(data, splits).values())
    for counts in list(split_counts(data, splits).values())[:2]:
        assert 12 <= counts["val"] <= 15
        assert 12 <= counts["test"] <= 15
    assert split_counts(data, splits)["class 2"] == {"train": 70, "val": 15, "test": 15}


@pytest.mark.parametrize("seed", range(5))
def test_three_groups_are_one_for_each_part_and_the_largest_is_learned_from(seed: int) -> None:
    data = grouped(manifest(balanced(2, 30)), {row: 0 if row < 1 else 1 if row < 3 else 2 for row in range(30)})
    splits = assign(data, seed)
    assert all(len(side) == 1 for side in sides(data, splits).values())
    assert split_counts(data, splits)["class 0"]["train"] == 27
    assert min(split_counts(data, splits)["class 0"].values()) >= 1
    assert of_one_moment(data) == {}


def test_a_class_of_one_moment_is_cut_in_the_order_of_names() -> None:
    plain = manifest(balanced(2, 20))
    images = tuple(image.model_copy(update={"name": f"IMG_{row}.jpg"}) for row, image in enumerate(plain.images))
    data = grouped(plain.model_copy(update={"images": images}), {row: row // 10 for row in range(20)})
    assert of_one_moment(data) == {"class 0": 2}
    parts = ["train"] * 12 + [NO_PART] + ["val"] * 3 + [NO_PART] + ["test"] * 3
    assert assign(data, 0)[:20].tolist() == parts, "the pictures beside a cut are in no part"
    assert split_counts(data, assign(data, 0))["class 0"] == {"train": 12, "val": 3, "test": 3}
    assert without_headline(data) == ("class 0",)
    assert of_one_moment(manifest(balanced(2, 20))) == {}
    assert without_headline(manifest(balanced(2, 20))) == ()


@pytest.mark.parametrize(("each", "gap", "train"), [(3, 0, 1), (5, 0, 3), (7, 0, 5), (8, 1, 4), (100, 5, 60)])
def test_a_gap_leaves_half_of_a_class_to_learn_from(each: int, gap: int, train: int) -> None:
    data = grouped(manifest(balanced(2, each)), dict.fromkeys(range(each), 0))
    parts = Counter(assign(data, 0)[:each].tolist())
    assert (parts[NO_PART], parts["train"]) == (2 * gap, train)
    assert min(parts["val"], parts["test"]) >= 1
    assert NO_PART not in assign(data, 0)[each:]


def test_what_a_gap_left_out_stays_out_when_pictures_are_added() -> None:
    rows = balanced(2, 20)
    old = grouped(manifest(rows), dict.fromkeys(range(20), 0))
    after = assign(grown(old, grouped(manifest(rows + balanced(2, 20, None, 9000)), dict.fromkeys(range(20), 0))), 0)
    assert after[:40].tolist() == assign(old, 0).tolist()
    assert NO_PART not in after[40:]


def test_a_test_of_the_users_own_has_a_headline_even_where_train_is_of_one_moment() -> None:
    data = grouped(manifest(balanced(2, 20, "train") + balanced(2, 6, "test", 9000)), dict.fromkeys(range(20), 0))
    splits = assign(data, 0)
    assert Counter(splits[:20].tolist()) == {"train": 16, NO_PART: 1, "val": 3}
    assert without_headline(data) == ()


@pytest.mark.parametrize("seed", range(5))
def test_new_pictures_go_to_the_side_of_their_old_group_and_the_old_ones_stay(seed: int) -> None:
    old = grouped(manifest(balanced(2, 20)), {row: row // 2 for row in range(20)})
    before = assign(old, seed).tolist()
    new = grouped(
        manifest(balanced(2, 20) + balanced(2, 6, None, 9000)),
        {row: row // 2 for row in range(20)} | {40: 0, 41: 0, 42: 1, 0: 0, 1: 0, 2: 1, 3: 1},
    )
    after = assign(grown(old, new), seed).tolist()
    assert after[:40] == before
    assert after[40:43] == [before[0], before[0], before[2]]


def test_old_pictures_that_turn_out_to_belong_together_stay_and_the_new_one_is_learned_from() -> None:
    rows = balanced(2, 20)
    before = assign(manifest(rows), 0).tolist()
    one, other = before.index("train"), before.index("test")
    data = grouped(manifest([*rows, (0, "fffff", None)]), {one: 0, other: 0, 40: 0})
    after = assign(grown(manifest(rows), data), 0).tolist()
    assert after == [*before, "train"]


def test_a_recorded_split_stays_when_other_groups_are_found() -> None:
    rows = balanced(2, 20)
    before = grouped(manifest(rows), {row: row // 4 for row in range(20)})
    splits = assign(before, 1)
    record = recorded(before, splits)
    turned = manifest([*rows[::-1], (0, "fffff", None)])
    assert as_recorded(turned, record, 1).tolist() == [*splits[::-1].tolist(), NO_PART], "read by content, not by row"
    assert assign(turned, 1)[:40].tolist() != splits[::-1].tolist(), "cut again it would be another one"
    assert record.group_of[rows[0][1].zfill(64)] == record.group_of[rows[3][1].zfill(64)]


def test_a_recorded_split_of_the_users_own_may_have_the_same_bytes_twice() -> None:
    rows = [*balanced(2, 20, "train"), *balanced(2, 6, "test")]
    data = manifest(rows)
    splits = assign(data, 0)
    assert as_recorded(data, recorded(data, splits), 0).tolist() == splits.tolist()


def test_a_test_picture_is_leaked_where_its_group_was_learned_from() -> None:
    splits = np.array(["train", "val", "test", "test", "test", NO_PART, "test"])
    assert leaked(splits, np.array([0, 1, 0, 1, 2, 3, 3])).tolist() == [2, 3]
