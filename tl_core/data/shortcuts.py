"""Whether classes can be told apart by something silly: the file's format or size, the picture's size, brightness, border or camera.

A network that is trained on such pictures may learn that instead of what is on them, and its accuracy on pictures of the same kind says
nothing about others. Shown by a classifier that sees such a property and nothing else (Torralba and Efros 2011 named the game).
"""

from collections.abc import Mapping, Sequence
from math import erfc, sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = (6, 16)
"""Fewest and most intervals into which the values of a property are divided."""
_IN_A_BIN = 15
"""Pictures of an interval, where the number of intervals allows it."""
FOLDS = 5
USEFUL = 0.7
"""How far above chance a shortcut must be to matter: 0 is chance, 1 is always right. What is on the pictures is seen in such numbers, too:
cardboard that fills the picture is told by its border with 0.64.
"""
CHANCE = 1e-6
"""Probability that chance does as well above which nothing is said."""
FEWEST = 10
"""Pictures, each of a group of its own, that a class needs to be looked at."""


class Shortcut(NamedTuple):
    """A property by which a class, or all classes, can be told."""

    property: str
    """Its key in what was given."""
    label: int | None
    """The class that is told from all others; None: the classes are told from each other."""
    accuracy: float
    """The share of pictures that are told rightly, cross-validated, all classes counted alike (balanced accuracy)."""
    chance: float
    """That accuracy without the property: 1 / C among C classes, 0.5 for a class and all others."""


def shortcut(
    properties: Mapping[str, NDArray[np.floating]], labels: NDArray[np.integer], groups: NDArray[np.integer]
) -> Shortcut | None:
    """The property that tells the classes best, if that is useful and chance does not explain it.

    Each of `properties` is an array (N, K), K numbers a picture; `labels` (N,) are class indices, and `groups` (N,) number the pictures
    that show one thing, of which the first one counts. The classifier is naive Bayes on `BINS` intervals of equally many
    pictures, or on the values themselves where they are few: with one number the 1R rule of Holte 1993. It is cross-validated in
    `FOLDS` folds. The probability of chance is that of a normal approximation, times the number of comparisons. A property that tells
    all classes comes first, then the one that tells a class best.
    """
    first = np.unique(groups, return_index=True)[1]
    classes, sizes = np.unique(labels[first], return_counts=True)
    classes = classes[sizes >= FEWEST]
    rows = first[np.isin(labels[first], classes)]
    if len(classes) < 2:
        return None
    labels = labels[rows]
    folds = _folds(labels)
    of_class = classes if len(classes) > 2 else classes[:0]
    comparisons = len(properties) * (1 + len(of_class))
    shortcuts: list[tuple[float, Shortcut]] = []
    for name, values in properties.items():
        binned = [_binned(column) for column in values[rows].T]
        for label in (None, *of_class.tolist()):
            truth = labels if label is None else (labels == label).astype(np.int64)
            accuracy, chance, error = _balanced(_told(binned, truth, folds), truth)
            gain = (accuracy - chance) / (1 - chance)
            by_chance = comparisons * 0.5 * erfc((accuracy - chance) / error / sqrt(2))
            if gain >= USEFUL and by_chance < CHANCE:
                shortcuts.append((gain + (label is None), Shortcut(name, label, accuracy, chance)))
    return max(shortcuts, key=lambda one: one[0])[1] if shortcuts else None


def _balanced(answers: NDArray[np.integer], truth: NDArray[np.integer]) -> tuple[float, float, float]:
    """The mean share of each class that is told rightly, the one that chance gives, and the standard error of the latter."""
    classes, sizes = np.unique(truth, return_counts=True)
    shares = [float((answers[truth == label] == label).mean()) for label in classes]
    chance = 1 / len(classes)
    error = sqrt(chance * (1 - chance) * float((1 / sizes).sum())) / len(classes)
    return sum(shares) / len(shares), chance, error


def _folds(labels: NDArray[np.integer]) -> NDArray[np.int64]:
    """The fold (N,) of each picture: those of each class in turn."""
    folds = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        folds[rows] = np.arange(len(rows)) % FOLDS
    return folds


def _binned(values: NDArray[np.floating]) -> NDArray[np.intp]:
    """The interval (N,) of each value, from 0; intervals do not depend on the classes."""
    bins = min(BINS[1], max(BINS[0], len(values) // _IN_A_BIN))
    edges = np.unique(values)
    if len(edges) > bins:
        edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)[1:-1]))
    return np.searchsorted(edges, values, side="right")


def _told(
    binned: Sequence[NDArray[np.intp]], labels: NDArray[np.integer], folds: NDArray[np.int64]
) -> NDArray[np.integer]:
    """The label (N,) that the pictures of the other folds give each picture; labels are equally likely beforehand."""
    classes, numbers = np.unique(labels, return_inverse=True)
    answers = np.empty(len(labels), dtype=np.int64)
    for fold in range(FOLDS):
        learn, asked = folds != fold, folds == fold
        scores = np.zeros((int(asked.sum()), len(classes)))
        for column in binned:
            counts = np.zeros((len(classes), int(column.max()) + 1))
            np.add.at(counts, (numbers[learn], column[learn]), 1.0)
            shares = (counts + 1 / counts.shape[1]) / (counts.sum(axis=1, keepdims=True) + 1)
            scores += np.log(shares[:, column[asked]]).T
        answers[asked] = scores.argmax(axis=1)
    return np.asarray(classes[answers])
