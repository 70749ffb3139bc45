"""Transferability: how well a backbone's frozen features suit a data set. Imports no torch.

There are two scores of the same features: the cross-validated accuracy of a logistic head, and LogME. Both decide whether the images
count as similar to the pretraining data.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.events import drive
from tl_core.evaluation.intervals import wilson_interval
from tl_core.training.head.fitted import fit_cross_validated, stratified_folds

MOST_IMAGES = 3_000
"""Of more images, a stratified sample of this size is scored: the score hardly depends on further ones."""
SIMILAR = 0.7
"""Images are similar where the interval of the frozen head's accuracy reaches this share of the way from chance to perfect.

With EfficientNet-Lite0 at 224 pixels, all training images, 300 and 100 of them reached: trash600 0.83, 0.80, 0.81; coffee
leaves 0.90, 0.91, 0.77; sign digits 0.93, 0.92, 0.80; handwritten digits 0.95, 0.92, 0.82; solar cells, whose
electroluminescence images differ from all of ImageNet, 0.60, 0.46, 0.47. The upper end of the interval counts, so that a data set
does not count as different only because it has few images.
"""

_LOGME_TOLERANCE = 1e-3
_LOGME_ROUNDS = 100
_SMALLEST = 1e-12


@dataclass(frozen=True)
class Transferability:
    """Scores of one backbone's features on one set of labelled images."""

    images: int
    """Number of images that were scored."""
    accuracy: float
    """Cross-validated accuracy of the logistic head, a fraction."""
    interval: tuple[float, float]
    """95 % Wilson interval of `accuracy`."""
    chance: float
    """Accuracy of always answering with the largest class."""
    logme: float
    """LogME, as the function `logme` computes it."""
    nothing: float
    """Log evidence, per image and class, of a model that knows only how many images each class has."""

    @property
    def share(self) -> float:
        """The head's accuracy on the scale from chance (0) to perfect (1); below 0 where it is worse than chance."""
        return self._way(self.accuracy)

    @property
    def similar(self) -> bool:
        """Whether the images count as similar to the pretraining data, since the frozen backbone tells most of them apart.

        The interval of the accuracy reaches `SIMILAR`, and LogME is better than that of a model without features.
        """
        return self._way(self.interval[1]) >= SIMILAR and self.logme > self.nothing

    def said(self, backbone: str) -> str:
        """The result in a sentence for the user."""
        low, high = self.interval
        verdict = (
            "so the pictures count as similar to what it learned before"
            if self.similar
            else "so the pictures count as different from what it learned before"
        )
        return (
            f"A new head on the frozen {backbone} tells {100 * self.accuracy:.0f} % of the training pictures apart "
            f"({100 * low:.0f} to {100 * high:.0f} %, each judged by a head that had not learned from it), {100 * self.share:.0f} % of the "
            f"way from chance to perfect, {verdict}."
        )

    def _way(self, accuracy: float) -> float:
        return (accuracy - self.chance) / (1.0 - self.chance)


def transferability(features: NDArray[np.floating], labels: NDArray[np.integer], seed: int = 0) -> Transferability:
    """Score `features` (N, D) of images with `labels` (N,), which should be those of the training split.

    The head is that of `fitted.fit_cross_validated`. An image that is the only one of its class is left out. Of more than `MOST_IMAGES` images, a `stratified` sample is scored.

    Raises:
        ValueError: fewer than two classes have two images, or features are not finite.
    """
    rows = stratified(labels, MOST_IMAGES, seed)
    _, number, counts = np.unique(np.asarray(labels)[rows], return_inverse=True, return_counts=True)
    rows = rows[counts[number] > 1]
    _, truth = np.unique(np.asarray(labels)[rows], return_inverse=True)
    folds = stratified_folds(truth, np.arange(len(truth)))
    if folds is None or truth.max() == 0:
        raise ValueError("At least two classes must have two images or more.")
    values = np.asarray(features)[rows]
    if not np.isfinite(values).all():
        raise ValueError("Some features are no numbers.")
    classes = int(truth.max()) + 1
    answers = drive(fit_cross_validated(values, truth, folds, classes=classes), lambda event: None).logits
    right, images = int((answers.argmax(axis=1) == truth).sum()), len(truth)
    shares = np.bincount(truth) / images
    return Transferability(
        images=images,
        accuracy=right / images,
        interval=wilson_interval(right, images),
        chance=float(shares.max()),
        logme=logme(values, truth),
        nothing=_evidence_of_nothing(shares),
    )


def logme(features: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """LogME (You et al. 2021, arXiv 2102.11005): the log evidence, per image and class, of a Bayesian linear model on `features`.

    `features` (N, D) of any N and D, `labels` (N,). Each class is a regression to 0 and 1 with a Gaussian prior of precision
    alpha on its weights and noise of precision beta; both are set where the evidence is highest (MacKay's fixed point), in
    the space of the features' singular vectors, so that a round needs no matrix product. Higher is better, also below 0; only
    values for the same images compare. Runs on one thread.
    """
    from threadpoolctl import threadpool_limits

    values = np.asarray(features, dtype=np.float64)
    with threadpool_limits(1):
        left, singular, _ = np.linalg.svd(values, full_matrices=False)
        targets = (np.asarray(labels)[:, None] == np.unique(labels)[None, :]).astype(np.float64)
        projected = left.T @ targets
    rank = singular > singular.max(initial=0.0) * max(values.shape) * np.finfo(np.float64).eps
    outside = np.maximum((targets**2).sum(axis=0) - (projected[rank] ** 2).sum(axis=0), 0.0)
    evidences = [
        _evidence(singular[rank] ** 2, projected[rank, column] ** 2, float(outside[column]), *values.shape)
        for column in range(targets.shape[1])
    ]
    return float(np.mean(evidences))


def stratified(labels: NDArray[np.integer], most: int, seed: int) -> NDArray[np.intp]:
    """Rows, in order, of about `most` images or fewer: each class with its share, and at least two images where it has two."""
    classes = np.asarray(labels)
    if len(classes) <= most:
        return np.arange(len(classes))
    chosen: list[NDArray[np.intp]] = []
    for label in np.unique(classes):
        rows = np.flatnonzero(classes == label)
        wanted = max(2, round(len(rows) * most / len(classes)))
        chosen.append(np.random.default_rng([seed, int(label)]).permutation(rows)[:wanted])
    return np.sort(np.concatenate(chosen))


def _evidence(spectrum: NDArray[np.float64], inside: NDArray[np.float64], outside: float, n: int, d: int) -> float:
    """The highest log evidence per image of one class.

    `spectrum`: squared singular values; `inside`: squared length of the targets along each left singular vector;
    `outside`: their squared length beyond all of them.
    """
    alpha, beta = 1.0, 1.0
    weights = residual = 0.0
    for _ in range(_LOGME_ROUNDS):
        ratio = alpha / beta
        shrunk = spectrum + ratio
        effective = float((spectrum / shrunk).sum())
        weights = float((spectrum * inside / shrunk**2).sum())
        residual = float((inside * (ratio / shrunk) ** 2).sum()) + outside
        alpha = effective / max(weights, _SMALLEST)
        beta = max(n - effective, _SMALLEST) / max(residual, _SMALLEST)
        if abs(alpha / beta - ratio) <= _LOGME_TOLERANCE * ratio:
            break
    # Of the D eigenvalues of the posterior's precision, those beyond the spectrum are equal to alpha.
    determinant = float(np.log(alpha + beta * spectrum).sum()) + (d - len(spectrum)) * np.log(alpha)
    evidence = d * np.log(alpha) + n * np.log(beta) - n * np.log(2 * np.pi)
    return float(evidence - determinant - beta * residual - alpha * weights) / (2 * n)


def _evidence_of_nothing(shares: NDArray[np.float64]) -> float:
    """The LogME of a model that knows each class's share of the images and no features."""
    return float(np.mean(-0.5 * np.log(2 * np.pi * np.e * shares * (1 - shares))))
