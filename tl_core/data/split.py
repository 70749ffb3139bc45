"""Splits a data set into train, validation and test.

A split made here is stratified, 70/15/15, depends only on the run's seed and the images' content (not on their order or names), and
keeps each group of images that show the same thing on one side (`data/groups`; byte-identical images are always a group). A class that has
too few groups for that, all of one moment, is cut in the order of file names instead, and the images beside a cut are in no part. In a
version of a data set, the images stay in the parts that they had in the version before with the same seed, as long as each part then has
pictures of every class; what was added fills each part up. The user's own split stays as it is; a part that it lacks, or of which a
version leaves nothing, is cut from train.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.manifest import SPLITS, ImageEntry, Manifest, Split, SplitRecord

HELD_OUT = 0.15
"""Share of the images that goes to validation, and to test."""
GAP = 0.05
"""Share of the images of a class of one moment that is left out at each cut. Neighbours in a burst or film are the most alike, so they
would be judged by what is nearly themselves. A few percent remove the nearest ones; more would cost pictures to learn from, and would
not make another moment of it: no accuracy is believed there anyway.
"""
NO_PART: Final[Literal[""]] = ""
"""In place of a split: the image is in a gap. Nothing learns from it and nothing is judged on it."""
ENOUGH_FOR_ALL = 5
"""Distinct images of a class from which each part has one at least."""
DEFAULT_SEED = 0
"""The seed of the split that is shown before a run has one of its own."""
_Place = Split | Literal[""]


def assign(manifest: Manifest, seed: int) -> NDArray[np.str_]:
    """The split of each row, shape (N,): `train`, `val`, `test`, or `NO_PART` where a class of one moment was cut.

    With the user's own train and test, `val` is cut from train; with train and val only, theirs is the test split and a new
    `val` is cut. Every class of five distinct images or more has at least one in each part that is cut.
    """
    images = manifest.images
    side: dict[str, _Place] = {}
    if manifest.parent is not None:
        old = np.array(manifest.parent_rows, dtype=np.intp)
        parts: NDArray[np.str_] = assign(manifest.parent, seed)[old]
        if manifest.added:
            side = {images[row].sha256: parts[row] for row in np.flatnonzero(old >= 0)}
        elif set(SPLITS) <= set(parts.tolist()) if manifest.own_splits else _in_every_part(manifest, parts):
            return parts
    if not manifest.own_splits:
        return _cut(manifest, range(len(images)), side, parts=("test", "val"), seed=seed)
    own = {image.split or "train" for image in images}
    splits: NDArray[np.str_] = np.array([image.split or "train" for image in images], dtype="<U5")
    if "test" not in own:
        splits[splits == "val"] = "test"
    if "val" not in set(splits):
        rows = np.flatnonzero(splits == "train")
        splits[rows] = _cut(manifest, rows.tolist(), side, parts=("val",), seed=seed)
    return splits


def group_keys(manifest: Manifest) -> NDArray[np.intp]:
    """The group of each row, shape (N,): rows with the same number show one thing, and no part of a split or fold may divide them.

    Byte-identical images are in one group, and so are those that the manifest says show the same thing, or that the user says belong
    together. The numbers are 0 to G - 1 in the order of content hashes, so that they depend on the images and not on their order or names.
    """
    images, groups = manifest.images, _joined_groups(manifest)
    smallest: dict[int, str] = {}
    for image, group in zip(images, groups, strict=True):
        if group is not None:
            smallest[group] = min(smallest.get(group, image.sha256), image.sha256)
    keys = [image.sha256 if group is None else smallest[group] for image, group in zip(images, groups, strict=True)]
    return np.unique(np.array(keys, dtype=np.str_), return_inverse=True)[1].astype(np.intp)


def of_one_moment(manifest: Manifest, fewest: int = 3) -> dict[str, int]:
    """Number of groups of each class that has fewer than `fewest` though it has more pictures, in class order.

    No split or fold can judge such a class on anything but pictures of what was learned from. Of the user's own splits only train counts; a
    test of the user's own is judged on as it is (see `without_headline`).
    """
    groups: dict[int, set[int]] = defaultdict(set)
    for key, image in zip(group_keys(manifest).tolist(), manifest.images, strict=True):
        if image.split in (None, "train"):
            groups[image.label].add(key)
    return {
        name: len(groups[label])
        for label, (name, pictures) in enumerate(distinct(manifest).items())
        if len(groups[label]) < fewest <= pictures
    }


def distinct(manifest: Manifest) -> dict[str, int]:
    """Distinct images per class, in class order: in train, where the split is the user's own, else in all."""
    contents: dict[int, set[str]] = defaultdict(set)
    for image in manifest.images:
        if image.split in (None, "train"):
            contents[image.label].add(image.sha256)
    return {name: len(contents[label]) for label, name in enumerate(manifest.classes)}


def without_headline(manifest: Manifest) -> tuple[str, ...]:
    """The classes that are all of one moment, in class order, where `assign` cut the test from the same pictures; else none.

    No accuracy of a run on them is to be believed, by test or by cross-validation. A test of the user's own may be of another moment.
    """
    return () if manifest.own_splits else tuple(of_one_moment(manifest))


def _joined_groups(manifest: Manifest) -> tuple[int | None, ...]:
    """The group of each row; None where it is alone.

    Groups that were found and those that the user gave are joined where they share a picture: so what the user gives is never divided,
    and near-copies of it stay with it.
    """
    images = manifest.images
    if all(image.given_group is None for image in images):
        return tuple(image.group for image in images)
    joined = Joined(len(images))
    for keys in ([image.group for image in images], [image.given_group for image in images]):
        for rows in alike(keys):
            joined.all(rows)
    return tuple(None if group < 0 else group for group in joined.groups().tolist())


def recorded(manifest: Manifest, splits: NDArray[np.str_]) -> SplitRecord:
    """What `as_recorded` needs to find `splits` (N,) of the images of `manifest` again."""
    parts: dict[Split, dict[str, int]] = {part: {} for part in SPLITS}
    for image, split, group in zip(manifest.images, splits.tolist(), group_keys(manifest).tolist(), strict=True):
        if split != NO_PART:
            parts[split][image.sha256] = group
    return SplitRecord(parts=parts)


def as_recorded(manifest: Manifest, record: SplitRecord, seed: int) -> NDArray[np.str_]:
    """The split of each row, shape (N,), as `record` has it by the hash of the image; `NO_PART` for an image that it does not name.

    In a split of the user's own the same bytes may be in several parts; the part of the row is then the one of these that `assign` gives
    it.
    """
    splits: NDArray[np.str_] = np.full(len(manifest.images), NO_PART, dtype="<U5")
    again: NDArray[np.str_] | None = None
    for row, image in enumerate(manifest.images):
        parts = [part for part in SPLITS if image.sha256 in record.parts.get(part, {})]
        if len(parts) > 1:
            again = assign(manifest, seed) if again is None else again
            parts = [part for part in parts if part == again[row]] or parts
        if parts:
            splits[row] = parts[0]
    return splits


def leaked(splits: NDArray[np.str_], groups: NDArray[np.integer]) -> NDArray[np.intp]:
    """Rows in test whose group, by `groups` (N,), also has a picture in train or val, by `splits` (N,), in order.

    A split that is cut here has such rows only where a class is of one moment, or where pictures that were split earlier turn out to
    belong together.
    """
    learned = np.isin(groups, groups[np.isin(splits, ("train", "val"))])
    return np.flatnonzero((splits == "test") & learned)


def split_counts(manifest: Manifest, splits: NDArray[np.str_]) -> dict[str, dict[str, int]]:
    """Images per class and split: `{"cat": {"train": 70, "val": 15, "test": 15}}`, in class order."""
    counts = Counter((image.label, str(split)) for image, split in zip(manifest.images, splits, strict=True))
    return {name: {part: counts[label, part] for part in SPLITS} for label, name in enumerate(manifest.classes)}


def _cut(
    manifest: Manifest, rows: Sequence[int], before: Mapping[str, _Place], *, parts: tuple[Split, ...], seed: int
) -> NDArray[np.str_]:
    """The part of each of `rows`: one of `parts` or train, by content that of `before` where that is one of them."""
    units: dict[int, _Unit] = defaultdict(_Unit)
    keys = group_keys(manifest).tolist()
    for row in rows:
        units[keys[row]].add(manifest.images[row])
    contents = {manifest.images[row].sha256 for row in rows}
    side = {key: part for key, part in before.items() if key in contents and part in (*parts, "train", NO_PART)}
    _place(side, units, parts=parts, seed=seed)
    return np.array([side[manifest.images[row].sha256] for row in rows], dtype="<U5")


def _in_every_part(manifest: Manifest, parts: NDArray[np.str_]) -> bool:
    """Whether each class that has enough distinct images for it has one in every split."""
    parts_of: dict[int, set[str]] = defaultdict(set)
    contents: dict[int, set[str]] = defaultdict(set)
    for image, part in zip(manifest.images, parts.tolist(), strict=True):
        parts_of[image.label].add(part)
        contents[image.label].add(image.sha256)
    return all(parts_of[label] >= set(SPLITS) for label in contents if len(contents[label]) >= ENOUGH_FOR_ALL)


class _Unit:
    """The contents of one group."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        """A file name for each content."""
        self.of_label: dict[int, set[str]] = defaultdict(set)

    def add(self, image: ImageEntry) -> None:
        self.names.setdefault(image.sha256, image.name)
        self.of_label[image.label].add(image.sha256)


def _place(side: dict[str, _Place], units: Mapping[int, _Unit], *, parts: tuple[Split, ...], seed: int) -> None:
    """Write into `side` the part of each content of `units` that has none yet."""
    for unit in units.values():
        placed = {side[content] for content in unit.names if content in side}
        if placed:
            # Of old pictures that are found to belong together only now, some may be learned from: the new one goes to them.
            part: _Place = "train" if "train" in placed else min(placed)
            side.update({content: part for content in unit.names if content not in side})

    units_of: dict[int, list[_Unit]] = defaultdict(list)
    for key in sorted(units):
        for label in units[key].of_label:
            units_of[label].append(units[key])
    contents_of = {
        label: {content for unit in members for content in unit.of_label[label]} for label, members in units_of.items()
    }
    # The smallest class comes first: images that it shares with a larger class must not leave it without one in each part.
    for label in sorted(units_of, key=lambda label: (len(contents_of[label]), label)):
        contents, members = contents_of[label], units_of[label]
        placed_before = Counter(side[content] for content in contents if content in side)
        free = [unit for unit in members if not unit.names.keys() <= side.keys()]
        if len(members) <= len(parts) < len(contents):
            _place_by_name(side, free, parts=parts, quota=_quota(len(contents), len(parts)))
            continue
        order = np.random.default_rng([seed, label]).permutation(len(free))
        free = [free[index] for index in order]
        for number, part in enumerate(parts):
            wanted = _quota(len(contents), len(parts)) - placed_before[part]
            taken = _taken(free, [len(unit.of_label[label]) for unit in free], wanted, left=len(parts) - number)
            for unit in taken:
                side.update(dict.fromkeys(unit.names, part))
            free = [unit for unit in free if not unit.names.keys() <= side.keys()]
        for unit in free:
            side.update(dict.fromkeys(unit.names, "train"))


def _taken(free: Sequence[_Unit], sizes: Sequence[int], wanted: int, *, left: int) -> list[_Unit]:
    """The first of `free` that have `wanted` images together; where groups are large, those that fit, or the smallest one.

    Where there are groups of several images, at least `left` groups stay.
    """
    if wanted <= 0:
        return []
    if max(sizes, default=1) == 1:
        return list(free[:wanted])
    taken: list[_Unit] = []
    for unit, size in zip(free, sizes, strict=True):
        if size <= wanted and len(free) - len(taken) > left:
            taken.append(unit)
            wanted -= size
    return taken or ([free[int(np.argmin(sizes))]] if len(free) > left else [])


def _place_by_name(side: dict[str, _Place], free: Sequence[_Unit], *, parts: tuple[Split, ...], quota: int) -> None:
    """Cut a class that is of one moment in the order of file names: its last images are held out, and some before each part left out.

    These are a share of `GAP`, and at least one where train keeps half of the class; where it would not, there is no gap.
    """
    names = {content: name for unit in free for content, name in unit.names.items() if content not in side}
    ordered = sorted(names, key=lambda content: (_in_order(names[content]), content))
    spare = (len(ordered) - len(parts) * quota - (len(ordered) + 1) // 2) // len(parts)
    gap = max(0, min(spare, max(1, round(len(ordered) * GAP))))
    for part in parts:
        held_out: tuple[tuple[_Place, int], ...] = ((part, quota), (NO_PART, gap))
        for place, images in held_out:
            cut = max(0, len(ordered) - images)
            side.update(dict.fromkeys(ordered[cut:], place))
            ordered = ordered[:cut]
    side.update(dict.fromkeys(ordered, "train"))


def _in_order(name: str) -> list[int | str]:
    """A key by which IMG_9 comes before IMG_10."""
    return [int(part) if number % 2 else part for number, part in enumerate(re.split("([0-9]+)", name))]


def _quota(distinct: int, parts: int) -> int:
    """How many of `distinct` images go to each of `parts` held-out parts."""
    return 0 if distinct <= parts else min(max(1, round(distinct * HELD_OUT)), (distinct - 1) // parts)


class Joined:
    """Joins rows 0 to `count` - 1, each alone at first, to groups: what is joined to one row is joined to each other (union-find)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def root(self, row: int) -> int:
        """The first row of the group of `row`."""
        while self._parent[row] != row:
            self._parent[row] = self._parent[self._parent[row]]
            row = self._parent[row]
        return row

    def pair(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        self._parent[second] = first

    def all(self, rows: Sequence[int]) -> None:
        for one, other in pairwise(rows):
            self.pair(one, other)

    def groups(self) -> NDArray[np.intp]:
        """The number of each row's group, 0, 1, ... in the order of their first rows; -1 where a row is alone."""
        roots = [self.root(row) for row in range(len(self._parent))]
        sizes = np.bincount(roots, minlength=len(roots)) if roots else np.empty(0, np.intp)
        number = {root: index for index, root in enumerate(sorted({root for root in roots if sizes[root] > 1}))}
        return np.array([number.get(root, -1) for root in roots], dtype=np.intp)


def alike(keys: Iterable[object]) -> list[list[int]]:
    """The positions of equal keys, where there are several; None is equal to nothing."""
    rows: dict[object, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        if key is not None:
            rows[key].append(row)
    return [same for same in rows.values() if len(same) > 1]
