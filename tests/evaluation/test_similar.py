"""Which pictures are similar: by direction, in the own class and in another, without copies."""

import numpy as np

from tl_core.evaluation.similar import LOOKALIKES, lookalikes, nearest


def test_the_direction_counts_and_not_the_length() -> None:
    vectors = np.array([[0, 3], [10, 1], [0.1, 0.1], [-1, 0], [0, 0]], np.float16)
    found = nearest(np.array([1, 1], np.float32), vectors, 3)
    assert [row for row, _ in found] == [2, 1, 0]
    assert np.isclose(found[0][1], 1, atol=1e-3)
    assert np.isclose(found[2][1], 0.5**0.5, atol=1e-3)


def test_beside_a_suspect_are_the_nearest_pictures_of_both_classes_without_its_copies() -> None:
    angles = np.array([0.0, 0.01, 0.1, 0.3, 0.2, 1.0, 0.05, 0.4, 0.15, 2.0])
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 1])
    lengths = np.arange(1, 11)
    features = (lengths * np.stack([np.cos(angles), np.sin(angles)])).T.astype(np.float32)
    groups = np.array([7, 7, 2, 3, 4, 5, 6, 8, 9, 10])
    row, suggested = np.array([0]), np.array([1])
    _, (near,) = lookalikes(features, labels, groups, row, suggested)
    assert (near.of_label, near.of_suggested) == ((2, 4, 3), (6, 8, 7))
    assert lookalikes(features, labels, np.zeros(10), row, suggested)[1][0].of_label == (), "all show one thing"


def test_the_most_similar_pictures_of_the_own_and_of_the_nearest_other_class_are_named() -> None:
    rng = np.random.default_rng(1)
    features, labels, groups = rng.normal(size=(600, 5)), rng.integers(0, 3, 600), rng.integers(0, 400, 600)
    others, found = lookalikes(features, labels, groups)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    for row in (0, 7, 511, 512, 599):
        near = [other for other in np.argsort(-(unit @ unit[row])) if groups[other] != groups[row]]
        other = next(labels[place] for place in near if labels[place] != labels[row])
        assert others[row] == other
        for rows, label in ((found[row].of_label, labels[row]), (found[row].of_suggested, other)):
            assert list(rows) == [place for place in near if labels[place] == label][:LOOKALIKES]
    alone = lookalikes(features, labels, np.zeros(600))
    assert np.array_equal(alone[0], labels)
    assert alone[1][0].of_label == alone[1][0].of_suggested == ()
