"""The fitted head where nothing is trained after it: cross-validation chooses its penalty, and it learns from every image that it may see.

Imports no torch. A validation part would take images from training to choose one number, and says little about so few. Here each image
is answered by a head that has not seen it, nor its group: that chooses the penalty and the temperature, and is what the report says
about these images.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.events import Event, RegularisationTried
from tl_core.training.head.fitted import PATH, PATIENCE, Head, accuracy_and_loss, class_weights, significant_temperature
from tl_core.training.head.logistic import Features
from tl_core.training.head.rotated import Heads, Rotated, fit_heads

TEST = -1
"""The fold of the test images, from which the delivered head neither learns nor is chosen."""


@dataclass(frozen=True)
class CrossValidated:
    """A head, and what heads answered that had not seen the image in question."""

    head: Head
    """Fitted on all images outside the test; its figures are those of `logits`."""
    logits: NDArray[np.float32]
    """(M, C), out of fold, with the head's own penalty: of the images outside the test, in their order. Before any temperature."""
    nested: NDArray[np.float32] | None
    """(N, C), of every image, by a head whose penalty and temperature were chosen without this image, too; already divided by the
    temperature. None where it was not asked for."""


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

    `features` (N, D) must fit the memory; `labels` (N,) are 0 to `classes` - 1; `folds` (N,) are `TEST`, or from 0 on, as
    `folds.stratified_folds` gives them. Yields one `RegularisationTried` for each penalty: the training accuracy is that of the head
    on all folds, the other figures are out of fold. The same arrays give the same head. `balanced`: rare classes have larger weights.

    `nested`: nested cross-validation (Varma and Simon 2006), with the test images as one more fold. For them it is the head that is
    returned which answers. The images of another fold are answered by a head on all others, test included, whose penalty is
    chosen by inner folds: the test images alone, or with `pairs` every other fold in turn, which fits twice as many heads; a fold
    without which a head would lack a class is passed over.

    Raises:
        ValueError: shapes do not fit, there are fewer than two folds, `nested` without test images, or a head would lack a class.
    """
    from threadpoolctl import threadpool_limits

    inside = np.unique(folds[folds != TEST]).tolist()
    has_test = bool((folds == TEST).any())
    if not len(features) == len(labels) == len(folds) or len(inside) < 2:
        raise ValueError(
            f"{len(features)} images, {len(labels)} labels and {len(folds)} folds, {len(inside)} of them different."
        )
    if nested and not has_test:
        raise ValueError("Nested cross-validation needs test images as a fold.")
    delivered = frozenset({TEST} if has_test else ())
    choices = [_Choice(delivered, inside)]
    if nested:
        for fold in inside:
            others = [other for other in inside if pairs and other != fold]
            known = [other for other in others if _knows_all(labels[~np.isin(folds, [fold, other])], classes)]
            choices.append(_Choice(frozenset({fold}), [TEST, *known]))
    without = list(dict.fromkeys(left for choice in choices for left in choice.heads))
    counts = np.array([_counts(labels, ~np.isin(folds, list(left)), classes, balanced) for left in without])
    rotated = Rotated.of(features)
    rows_of = {fold: np.flatnonzero(folds == fold) for fold in (TEST, *inside)}
    learned = np.flatnonzero(folds != TEST)
    heads = Heads.start(len(without), classes, rotated.features.shape[1])
    # Heads that are fitted together stop at the same iteration: those that may not know the test have no company that does.
    own = len(choices[0].heads)
    together = slice(own), slice(own, None)
    for c in PATH:
        heads = Heads.joined(
            [
                fit_heads(rotated, labels, counts[some], c=c, start=heads.some(some))
                for some in together
                if counts[some].size
            ]
        )
        going = [choice for choice in choices if choice.worse < PATIENCE]
        with threadpool_limits(1):
            for choice in going:
                choice.judge(c, heads, without, rotated, rows_of, labels)
            train_accuracy, _ = accuracy_and_loss(heads.logits(0, rotated.features[learned]), labels[learned])
        if choices[0] in going:
            loss, accuracy = choices[0].latest
            yield RegularisationTried(
                c=c, train_accuracy=train_accuracy, val_accuracy=accuracy, val_loss=loss, best=choices[0].worse == 0
            )
        if all(choice.worse >= PATIENCE for choice in choices):
            break
    chosen = choices[0]
    head = Head(
        *rotated.fold(chosen.weight, chosen.bias), c=chosen.c, val_accuracy=chosen.accuracy, val_loss=chosen.loss
    )
    answers = None
    if nested:
        answers = np.empty((len(labels), classes), dtype=np.float32)
        for choice in choices:
            (fold,) = choice.left_out
            rows = rows_of[fold]
            logits = rotated.features[rows] @ choice.weight.T + choice.bias
            answers[rows] = logits / significant_temperature(choice.logits, labels[choice.rows])
    return CrossValidated(head, chosen.logits, answers)


@dataclass(eq=False)
class _Choice:
    """The choice of a penalty for the head that does not see the folds `left_out`, by the folds `inner`, each left out in turn."""

    left_out: frozenset[int]
    inner: Sequence[int]
    c: float = 0.0
    loss: float = float("inf")
    accuracy: float = 0.0
    worse: int = 0
    """How many penalties in succession were not better."""
    latest: tuple[float, float] = (float("inf"), 0.0)
    """Loss and accuracy with the penalty that was tried last."""
    rows: NDArray[np.intp] = field(default_factory=lambda: np.zeros(0, dtype=np.intp))
    """(M,) images of the inner folds, in order."""
    logits: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    """(M, C), out of fold."""
    weight: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0)))
    bias: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    @property
    def heads(self) -> list[frozenset[int]]:
        """The folds that each head leaves out: first the one to be chosen, then those of the inner folds."""
        return [self.left_out, *(self.left_out | {fold} for fold in self.inner)]

    def judge(
        self,
        c: float,
        heads: Heads,
        without: list[frozenset[int]],
        rotated: Rotated,
        rows_of: dict[int, NDArray[np.intp]],
        labels: NDArray[np.integer],
    ) -> None:
        """Take `c` where it is better: by the loss, with ties broken by accuracy, which alone is too coarse with few images."""
        rows = np.concatenate([rows_of[fold] for fold in self.inner])
        logits = np.concatenate(
            [
                heads.logits(without.index(self.left_out | {fold}), rotated.features[rows_of[fold]])
                for fold in self.inner
            ]
        )
        order = np.argsort(rows)
        rows, logits = rows[order], logits[order]
        accuracy, loss = accuracy_and_loss(logits, labels[rows])
        self.latest = loss, accuracy
        if (loss, -accuracy) < (self.loss, -self.accuracy):
            own = without.index(self.left_out)
            self.c, self.loss, self.accuracy, self.worse = c, loss, accuracy, 0
            self.rows, self.logits, self.weight, self.bias = rows, logits, heads.weight[own], heads.bias[own]
        else:
            self.worse += 1


def _counts(labels: NDArray[np.integer], used: NDArray[np.bool_], classes: int, balanced: bool) -> NDArray[np.float64]:
    """The weight (N,) of each image for a head that learns from those that are `used`."""
    if not _knows_all(labels[used], classes):
        raise ValueError(
            f"A head would learn from {len(np.unique(labels[used]))} of {classes} classes, of which there are at least two."
        )
    return used * (class_weights(labels[used])[labels] if balanced else 1.0)


def _knows_all(labels: NDArray[np.integer], classes: int) -> bool:
    return classes >= 2 and np.array_equal(np.unique(labels), np.arange(classes))
