"""The fitted head of a frozen backbone: multinomial logistic regression on its features. Imports no torch.

Fits follow a path from the strongest penalty to weaker ones, each started from the one before. Answers to pictures that a head has
not learned from choose the penalty: by their log loss, with ties broken by accuracy, which alone is too coarse with few images.

Where nothing is trained after it, cross-validation chooses, and the head learns from every image that it may see. A validation part would
take images from training to choose one number, and says little about so few. With cross-validation each image is answered by a head that
has not seen it, nor its group: that chooses the penalty and the temperature, and is what the report says about these images. For a
learning curve, heads that learned from parts of the other folds answer each fold.
"""

from collections import defaultdict
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tl_core.documents.events import Event, RegularisationTried
from tl_core.evaluation.calibration import accuracy_and_loss, significant_temperature
from tl_core.training.head.solver import Features, Rotated, Taken, fit_heads, no_heads

PATH: tuple[float, ...] = tuple(10.0 ** (half / 2) for half in range(-9, 3))
"""Values of C, the inverse strength of the penalty, in the order in which they are tried."""
PATIENCE = 2
"""The path ends after so many values of C in succession without a better loss."""
TEST = -1
"""The fold of the test images, from which the delivered head neither learns nor is chosen."""


@dataclass(frozen=True)
class Head:
    """A linear classifier on raw features."""

    weight: NDArray[np.float32]
    """(C, D)"""
    bias: NDArray[np.float32]
    """(C,)"""

    def logits(self, features: NDArray[np.floating]) -> NDArray[np.float32]:
        """Scores (N, C) of `features` (N, D), before any temperature."""
        return np.asarray(features @ self.weight.T + self.bias, dtype=np.float32)


@dataclass(frozen=True)
class CrossValidated:
    """A head, and what heads answered that had not seen the image in question."""

    head: Head
    """Fitted on all images outside the test."""
    c: float
    """Inverse strength of its penalty."""
    logits: NDArray[np.float32]
    """(M, C), out of fold, with the head's own penalty: of the images outside the test, in their order. Before any temperature."""
    nested: NDArray[np.float32] | None
    """(N, C), of every image, by a head whose penalty and temperature were chosen without this image, too; already divided by the
    temperature. None where it was not asked for."""


def fit_logistic(
    features: NDArray[np.floating],
    labels: NDArray[np.integer],
    train: NDArray[np.integer],
    val: NDArray[np.integer],
    *,
    classes: int,
    balanced: bool = False,
) -> Generator[Event, None, Head]:
    """The head that learns from the rows `train` of `features` (N, D), with the penalty that has the lowest loss on the rows `val`.

    `labels` (N,) are 0 to `classes` - 1. Every class must occur in `train`; `val` may lack some. Yields one `RegularisationTried` for
    each penalty. The same arrays give the same head. `balanced`: rare classes have larger weights, so that all classes count alike.

    Raises:
        ValueError: there are no validation rows, or a class has no training row.
    """
    if not len(val):
        raise ValueError("There must be validation rows.")
    rows = np.concatenate([train, val])
    some, used = labels[rows], np.arange(len(rows)) < len(train)
    rotated = Rotated(Taken(features, rows))
    choice = _Choice(0, [(0, np.flatnonzero(~used))])
    yield from _choose([choice], rotated, some, [_counts(some, used, classes, balanced)], classes)
    return Head(*rotated.fold(choice.chosen))


def fit_cross_validated(
    features: Features,
    labels: NDArray[np.integer],
    folds: NDArray[np.integer],
    *,
    classes: int,
    balanced: bool = False,
    nested: bool = False,
    pairs: bool = False,
) -> Generator[Event, None, CrossValidated]:
    """Fit heads along the path of penalties, choose the penalty with the lowest out-of-fold loss, and fit on all folds with it.

    `labels` (N,) are 0 to `classes` - 1; `folds` (N,) are `TEST`, or from 0 on, as `stratified_folds` gives them. Yields one
    `RegularisationTried` for each penalty: the training accuracy is that of the head on all folds, the other figures are out of fold.
    The same arrays give the same head. `balanced`: rare classes have larger weights.

    `nested`: nested cross-validation (Varma and Simon 2006), with the test images as one more fold. For them it is the head that is
    returned which answers. The images of another fold are answered by a head on all others, test included, whose penalty is
    chosen by inner folds: the test images alone, or with `pairs` every other fold in turn, which fits twice as many heads; a fold
    without which a head would lack a class is passed over.

    Raises:
        ValueError: shapes do not fit, there are fewer than two folds, `nested` without test images, or a head would lack a class.
    """
    inside = np.unique(folds[folds != TEST]).tolist()
    if not len(features) == len(labels) == len(folds) or len(inside) < 2:
        raise ValueError(
            f"{len(features)} images, {len(labels)} labels and {len(folds)} folds, {len(inside)} of them different."
        )
    if nested and not (folds == TEST).any():
        raise ValueError("Nested cross-validation needs test images as a fold.")
    rows_of = {fold: np.flatnonzero(folds == fold) for fold in (TEST, *inside)}
    without: dict[frozenset[int], int] = {}

    def head(*left_out: int) -> int:
        """The number of the head that learns from all folds but these."""
        return without.setdefault(frozenset(left_out), len(without))

    def choice(fold: int, inner: Sequence[int]) -> _Choice:
        """The choice of a penalty for the head that does not see `fold`, by the folds `inner`, each left out in turn."""
        return _Choice(head(fold), [(head(fold, other), rows_of[other]) for other in inner])

    choices = [choice(TEST, inside)]
    for fold in inside if nested else ():
        others = [other for other in inside if pairs and other != fold]
        complete = [other for other in others if _has_all(labels[~np.isin(folds, [fold, other])], classes)]
        choices.append(choice(fold, [TEST, *complete]))
    counts = [_counts(labels, ~np.isin(folds, list(left_out)), classes, balanced) for left_out in without]
    rotated = Rotated(features)
    yield from _choose(choices, rotated, labels, counts, classes)
    delivered = choices[0]
    answers = None
    if nested:
        answers = np.empty((len(labels), classes), dtype=np.float32)
        for fold, chosen in zip((TEST, *inside), choices, strict=True):
            scale = significant_temperature(chosen.logits, labels[chosen.rows])
            answers[rows_of[fold]] = rotated.logits(chosen.chosen, rows_of[fold]) / scale
    return CrossValidated(Head(*rotated.fold(delivered.chosen)), delivered.c, delivered.logits, answers)


class _Choice:
    """The choice of a penalty for one head, by the answers of heads to images that neither they nor it learned from."""

    def __init__(self, head: int, judges: Sequence[tuple[int, NDArray[np.integer]]]) -> None:
        """`head` is its number; `judges` are the numbers of the heads that answer, each with the images (M,) that it is asked."""
        self.head, self._judges = head, judges
        rows = np.concatenate([asked for _, asked in judges])
        self._order = np.argsort(rows)
        self.rows: NDArray[np.integer] = rows[self._order]
        """(M,) all images that are asked, in order."""
        self.c, self.loss, self.accuracy = 0.0, float("inf"), 0.0
        self.worse = 0
        """How many penalties in succession were not better."""
        self.latest = self.loss, self.accuracy
        """Loss and accuracy with the penalty that was tried last."""
        self.logits: NDArray[np.float32]
        """(M, C), the answers with the best penalty."""
        self.chosen: NDArray[np.float64]
        """(C, R + 1), the head with the best penalty, as `fit_heads` gives it."""

    def judge(self, c: float, heads: NDArray[np.float64], rotated: Rotated, labels: NDArray[np.integer]) -> None:
        """Take `c`, with which `heads` were fitted, where it is better."""
        logits = np.concatenate([rotated.logits(heads[judge], asked) for judge, asked in self._judges])[self._order]
        accuracy, loss = accuracy_and_loss(logits, labels[self.rows])
        self.latest = loss, accuracy
        self.worse += 1
        if (loss, -accuracy) < (self.loss, -self.accuracy):
            self.c, self.loss, self.accuracy, self.worse = c, loss, accuracy, 0
            self.logits, self.chosen = logits, heads[self.head]


def _choose(
    choices: Sequence[_Choice],
    rotated: Rotated,
    labels: NDArray[np.integer],
    counts: Sequence[NDArray[np.float64]],
    classes: int,
) -> Generator[Event, None, None]:
    """Make `choices` along the path of penalties; the heads learn with `counts`, a row (N,) each. The events are those of the first choice."""
    weights = np.stack(counts)
    learned = np.flatnonzero(weights[choices[0].head])
    heads = no_heads(len(weights), classes, rotated)
    for c in PATH:
        going = [choice for choice in choices if choice.worse < PATIENCE]
        if not going:
            break
        with threadpool_limits(1):
            heads = fit_heads(rotated, labels, weights, c=c, start=heads)
            for choice in going:
                choice.judge(c, heads, rotated, labels)
            train_accuracy, _ = accuracy_and_loss(rotated.logits(heads[choices[0].head], learned), labels[learned])
        if choices[0] in going:
            loss, accuracy = choices[0].latest
            yield RegularisationTried(
                c=c, train_accuracy=train_accuracy, val_accuracy=accuracy, val_loss=loss, best=choices[0].worse == 0
            )


def _counts(labels: NDArray[np.integer], used: NDArray[np.bool_], classes: int, balanced: bool) -> NDArray[np.float64]:
    """The weight (N,) of each image for a head that learns from those that are `used`."""
    if not _has_all(labels[used], classes):
        raise ValueError(
            f"A head would learn from {len(np.unique(labels[used]))} of {classes} classes, of which there are at least two."
        )
    return used * (class_weights(labels[used])[labels] if balanced else 1.0)


def _has_all(labels: NDArray[np.integer], classes: int) -> bool:
    return classes >= 2 and np.array_equal(np.unique(labels), np.arange(classes))


def class_weights(labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Weight of each class (C,) in the loss with which all classes count alike; the mean over `labels` (N,) is 1."""
    counts = np.bincount(labels)
    return np.asarray(len(labels) / (len(counts) * np.maximum(counts, 1)))


MOST = 5
"""The most folds; with more, each head would learn from little more images and all take longer."""
SHARES: tuple[float, ...] = tuple(2.0 ** (step / 2) for step in range(-4, 1))
"""Shares of the pictures outside a fold from which heads learn, for a learning curve."""


def stratified_folds(labels: NDArray[np.integer], groups: NDArray[np.integer]) -> NDArray[np.int64] | None:
    """The fold (N,) of each image, from 0: two to `MOST` folds, as many as the class with the fewest groups has groups.

    `labels` (N,) are class indices, and images with the same entry of `groups` (N,) are in the same fold. Each class is spread evenly
    over the folds. The result depends on labels and groups, and not on the order of the images.

    None where there are no such folds: a class has fewer than two groups, or all its groups are also groups of other classes and
    lie in one fold, so that a head that does not see this fold would not know the class.
    """
    members: dict[int, list[int]] = defaultdict(list)
    for row, group in enumerate(groups.tolist()):
        members[group].append(row)
    groups_of: dict[int, list[int]] = defaultdict(list)
    for group in sorted(members, key=lambda group: (-len(members[group]), group)):
        for label in {int(labels[row]) for row in members[group]}:
            groups_of[label].append(group)
    fewest = min(map(len, groups_of.values()), default=0)
    if fewest < 2:
        return None
    folds = min(MOST, fewest)
    fold_of: NDArray[np.int64] = np.full(len(labels), -1, dtype=np.int64)
    counts: dict[int, list[int]] = {label: [0] * folds for label in groups_of}
    total = [0] * folds
    # The smallest class comes first, since groups that it shares with a larger one are placed only once.
    for label in sorted(groups_of, key=lambda label: (len(groups_of[label]), label)):
        of_class = counts[label]
        for group in groups_of[label]:
            rows = members[group]
            if fold_of[rows[0]] >= 0:
                continue
            fold = min(range(folds), key=lambda fold: (of_class[fold], total[fold], fold))
            fold_of[rows] = fold
            total[fold] += len(rows)
            for row in rows:
                counts[int(labels[row])][fold] += 1
    return None if any(sum(map(bool, of_class)) < 2 for of_class in counts.values()) else fold_of


class PartAnswers(NamedTuple):
    """Out-of-fold answers to all pictures by heads that learned from more and more of the others."""

    sizes: NDArray[np.float64]
    """(S,), how many pictures the heads of each share learned from, the mean over the folds; rising."""
    right: NDArray[np.bool_]
    """(S, N), whether each picture was answered rightly."""


def fit_parts(
    features: Features,
    labels: NDArray[np.integer],
    folds: NDArray[np.integer],
    groups: NDArray[np.integer],
    *,
    classes: int,
    c: float,
    seed: int = 0,
) -> PartAnswers:
    """Fit heads of penalty `c` on each of `SHARES` of the pictures outside each fold, and let them answer the fold's pictures.

    `features` (N, D); `labels` (N,) are 0 to `classes` - 1; `folds` (N,), from 0 on, are as `stratified_folds` gives them, and
    `groups` (N,) number the pictures that show one thing. A part holds the share of the groups of each class, drawn with `seed`, and at
    least one; the parts of one fold lie in each other.

    Raises:
        ValueError: a class lies in one fold only.
    """
    rng = np.random.default_rng(seed)
    numbers = np.unique(folds)
    used = np.zeros((len(SHARES), len(numbers), len(labels)), dtype=bool)
    for at, fold in enumerate(numbers):
        for label in range(classes):
            rows = np.flatnonzero((folds != fold) & (labels == label))
            if not len(rows):
                raise ValueError(f"Class {label} lies in fold {fold} only.")
            of_class, number = np.unique(groups[rows], return_inverse=True)
            place = rng.permutation(len(of_class))[number]
            for step, share in enumerate(SHARES):
                used[step, at, rows] = place < max(1, round(share * len(of_class)))
    rotated = Rotated(features)
    right = np.zeros((len(SHARES), len(labels)), dtype=bool)
    heads = no_heads(len(numbers), classes, rotated)
    for step in range(len(SHARES)):
        heads = fit_heads(rotated, labels, used[step].astype(np.float64), c=c, start=heads)
        for head, fold in zip(heads, numbers, strict=True):
            rows = np.flatnonzero(folds == fold)
            right[step, rows] = rotated.logits(head, rows).argmax(axis=1) == labels[rows]
    return PartAnswers(used.sum(axis=2).mean(axis=1), right)
