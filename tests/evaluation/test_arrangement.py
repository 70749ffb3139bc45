"""A map of pictures: near each other what is alike, and the most similar ones of each."""

from __future__ import annotations

import numpy as np
import pytest

from tl_core.evaluation.arrangement import FEWEST, all_lookalikes, arranged
from tl_core.evaluation.suspects import LOOKALIKES


def test_pictures_of_one_kind_lie_together_and_the_map_is_the_same_again() -> None:
    kinds = np.arange(90) % 3
    features = np.random.default_rng(0).normal(size=(90, 64)) + 12 * np.eye(64)[kinds]
    places = arranged(features)
    assert places.shape == (90, 2)
    assert np.array_equal(places, arranged(features))
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + np.diag(np.full(90, np.inf))
    assert (kinds[distances.argmin(axis=1)] == kinds).all()
    assert arranged(features[:FEWEST]).shape == (FEWEST, 2)
    with pytest.raises(ValueError, match="no map"):
        arranged(features[: FEWEST - 1])


def test_the_most_similar_pictures_of_the_own_and_of_the_nearest_other_class_are_named() -> None:
    rng = np.random.default_rng(1)
    features, labels, groups = rng.normal(size=(600, 5)), rng.integers(0, 3, 600), rng.integers(0, 400, 600)
    others, found = all_lookalikes(features, labels, groups)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for row in (0, 7, 511, 512, 599):
        near = [other for other in np.argsort(-(unit @ unit[row])) if groups[other] != groups[row]]
        other = next(labels[place] for place in near if labels[place] != labels[row])
        assert others[row] == other
        for rows, label in ((found[row].of_label, labels[row]), (found[row].of_suggested, other)):
            assert list(rows) == [place for place in near if labels[place] == label][:LOOKALIKES]
    alone = all_lookalikes(features, labels, np.zeros(600))
    assert np.array_equal(alone[0], labels)
    assert alone[1][0].of_label == alone[1][0].of_suggested == ()
