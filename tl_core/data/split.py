"""Splits a data set into train, validation and test.

A split made here is stratified, 70/15/15, depends only on the run's seed and the images' content (not on their order or names), and
keeps byte-identical images on one side. In a data set that extends another one, the images of that one stay in the parts that they
had there with the same seed, and what was added fills each part up. The user's own split stays as it is; a part that it lacks is
cut from train.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.manifest import SPLITS, Former, Manifest, Split

HELD_OUT = 0.15
"""Share of the images that goes to validation, and to test."""
DEFAULT_SEED = 0
"""The seed of the split that is shown before a run has one of its own."""


def assign(manifest: Manifest, seed: int) -> NDArray[np.str_]:
    """The split of each row, `train`, `val` or `test`, shape (N,).

    With the user's own train and test, `val` is cut from train; with train and val only, theirs is the test split and a new
    `val` is cut. Every class of five distinct images or more has at least one in each part that is cut.
    """
    images = manifest.images
    if not manifest.own_splits:
        return _cut(manifest, range(len(images)), parts=("test", "val"), seed=seed)
    own = {image.split or "train" for image in images}
    splits: NDArray[np.str_] = np.array([image.split or "train" for image in images], dtype="<U5")
    if "test" not in own:
        splits[splits == "val"] = "test"
    if "val" not in set(splits):
        rows = np.flatnonzero(splits == "train")
        splits[rows] = _cut(manifest, rows.tolist(), parts=("val",), seed=seed)
    return splits


def group_keys(manifest: Manifest) -> NDArray[np.intp]:
    """The group of each row, shape (N,): rows with the same number show one thing, and no part of a split or fold may divide them.

    Byte-identical images are a group. The numbers are 0 to G - 1 in the order of content hashes, so that they depend on the images and
    not on their order or names.
    """
    contents = np.array([image.sha256 for image in manifest.images], dtype=np.str_)
    return np.unique(contents, return_inverse=True)[1].astype(np.intp)


def split_hashes(manifest: Manifest, splits: NDArray[np.str_]) -> dict[str, str]:
    """For each split, SHA-256 over the sorted content hashes of its images; equal hashes mean that runs were judged on the same images."""
    return {
        part: hashlib.sha256(
            "\n".join(
                sorted(image.sha256 for image, split in zip(manifest.images, splits, strict=True) if split == part)
            ).encode()
        ).hexdigest()
        for part in SPLITS
    }


def split_counts(manifest: Manifest, splits: NDArray[np.str_]) -> dict[str, dict[str, int]]:
    """Images per class and split: `{"cat": {"train": 70, "val": 15, "test": 15}}`, in class order."""
    found = Counter((image.label, str(split)) for image, split in zip(manifest.images, splits, strict=True))
    return {name: {part: found[label, part] for part in SPLITS} for label, name in enumerate(manifest.classes)}


def _cut(manifest: Manifest, rows: Sequence[int], *, parts: tuple[Split, ...], seed: int) -> NDArray[np.str_]:
    """The part of each of `rows`: one of `parts` or train. A data set that this one extends is cut first, as if it were alone."""
    side: dict[str, Split] = {}
    whole = Former(images=len(manifest.images), classes=manifest.classes)
    for grown in (*manifest.former, whole):
        number = {name: label for label, name in enumerate(grown.classes)}
        labels_of: dict[str, set[int]] = defaultdict(set)
        for row in rows:
            if row < grown.images:
                image = manifest.images[row]
                labels_of[image.sha256].add(number[manifest.classes[image.label]])
        _place(side, labels_of, parts=parts, seed=seed)
    return np.array([side[manifest.images[row].sha256] for row in rows], dtype="<U5")


def _place(side: dict[str, Split], labels_of: Mapping[str, set[int]], *, parts: tuple[Split, ...], seed: int) -> None:
    """Write into `side` the part of each content of `labels_of` that has none yet."""
    contents_of: dict[int, list[str]] = defaultdict(list)
    for content in sorted(labels_of):
        for label in labels_of[content]:
            contents_of[label].append(content)

    # The smallest class comes first: images that it shares with a larger class must not leave it without one in each part.
    for label in sorted(contents_of, key=lambda label: (len(contents_of[label]), label)):
        contents = contents_of[label]
        placed = Counter(side[content] for content in contents if content in side)
        free = [content for content in contents if content not in side]
        order = np.random.default_rng([seed, label]).permutation(len(free))
        free = [free[index] for index in order]
        for part in parts:
            wanted = _quota(len(contents), len(parts)) - placed[part]
            for content in free[: max(0, wanted)]:
                side[content] = part
            free = free[max(0, wanted) :]
        for content in free:
            side[content] = "train"


def _quota(distinct: int, parts: int) -> int:
    """How many of `distinct` images go to each of `parts` held-out parts."""
    return 0 if distinct <= parts else min(max(1, round(distinct * HELD_OUT)), (distinct - 1) // parts)
