"""Classes that can be told apart by something silly."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tl_core.data.shortcuts import FEWEST, shortcut

CLASSES, EACH = 3, 40
LABELS = np.repeat(np.arange(CLASSES), EACH)
ALONE = np.arange(len(LABELS))


def noise(seed: int = 0, columns: int = 1) -> NDArray[np.float64]:
    return np.random.default_rng(seed).normal(100, 20, (len(LABELS), columns))


def test_a_class_that_one_number_tells_is_named_with_its_cross_validated_accuracy() -> None:
    brightness = noise()
    brightness[LABELS == 1] += 90
    found = shortcut({"size": noise(1), "brightness": brightness, "border": noise(2, 3)}, LABELS, ALONE)
    assert found is not None
    assert (found.property, found.label, found.chance) == ("brightness", 1, 0.5)
    assert 0.9 < found.accuracy <= 1


def test_a_property_that_tells_all_classes_comes_before_one_that_tells_a_class() -> None:
    size = noise() + 200.0 * LABELS[:, None]
    file_format = (LABELS == 2).astype(float)[:, None]
    found = shortcut({"format": file_format, "size": size}, LABELS, ALONE)
    assert found is not None
    assert (found.property, found.label, found.chance) == ("size", None, pytest.approx(1 / 3))


def test_names_as_numbers_are_told_by_their_values() -> None:
    cameras = np.where(LABELS == 0, 4_000_000_000.0, np.where(ALONE % 2, 17.0, 3e9))[:, None]
    found = shortcut({"camera": cameras}, LABELS, ALONE)
    assert found is not None
    assert (found.property, found.label, found.accuracy) == ("camera", 0, 1.0)


def test_several_numbers_of_one_property_tell_a_class_together() -> None:
    border = noise(3, 3)
    border[LABELS == 2] += [45, -45, 45]
    found = shortcut({"border": border}, LABELS, ALONE)
    assert found is not None
    assert (found.property, found.label) == ("border", 2)
    each = [shortcut({"one": border[:, [channel]]}, LABELS, ALONE) for channel in range(3)]
    assert found.accuracy > np.mean([one.accuracy if one else 0.5 for one in each])


@pytest.mark.parametrize("seed", range(5))
def test_what_chance_explains_is_not_said(seed: int) -> None:
    properties = {str(number): noise(10 * seed + number) for number in range(9)}
    assert shortcut(properties, LABELS, ALONE) is None
    few = np.concatenate([np.flatnonzero(label == LABELS)[:FEWEST] for label in range(2)])
    assert shortcut({name: values[few] for name, values in properties.items()}, LABELS[few], ALONE[few]) is None


def test_a_difference_that_helps_little_is_not_said() -> None:
    labels, rng = np.repeat([0, 1], 2_000), np.random.default_rng(0)
    assert shortcut({"brightness": (rng.normal(0, 1, 4_000) + labels)[:, None]}, labels, np.arange(4_000)) is None


def test_copies_of_one_picture_prove_nothing() -> None:
    groups = ALONE // 20
    brightness = (groups * 10.0)[:, None]
    assert shortcut({"brightness": brightness}, LABELS, groups) is None


def test_a_large_class_is_no_shortcut() -> None:
    labels = np.repeat([0, 1], [190, 10])
    assert shortcut({"size": np.full((200, 1), 8.0)}, labels, np.arange(200)) is None
