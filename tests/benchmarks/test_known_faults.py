"""The benchmark of known faults counts a copy as found only where it is with its original."""

import numpy as np

from benchmarks.frozen_sets import FrozenSet
from benchmarks.known_faults import together
from tl_core.documents.manifest import ImageEntry, Manifest


def test_copies_that_are_apart_and_other_pictures_that_are_joined_are_told() -> None:
    things = {"a/1": "x", "a/2": "x", "a/3": "x", "a/4": "y", "a/5": "y", "a/6": "z"}
    images = tuple(
        ImageEntry(sha256=f"{row:064x}", label=0, name=name, file="", width=9, height=9)
        for row, name in enumerate(things)
    )
    manifest = Manifest(name="a", created=0.0, source="a", classes=("a", "b"), images=images)
    pictures = FrozenSet(
        "a", manifest, np.zeros((6, 2), np.float32), np.zeros(6, np.int64), np.array([0, 0, 1, 2, 2, 2])
    )
    assert together(pictures, things) == ({"a/1", "a/2", "a/4", "a/5"}, 1)
