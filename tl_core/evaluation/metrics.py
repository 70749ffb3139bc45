"""The tables of metrics, and the report's numbers that are computed from them.

A new metric is one row of `METRICS`, or of `CLASS_METRICS` if every class has a value of its own. The report, the model
card, the Evaluate page and the command line show every row. Each training run computes every row, so import slow
libraries inside the row's function, and use NumPy where its few lines give the same: importing scikit-learn's metrics
takes as long as half of a run whose features are cached.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.report import Accuracy, ImageAnswer, Leak, SplitMetrics
from tl_core.evaluation.calibration import reliability, top_label
from tl_core.evaluation.intervals import accuracy_interval, macro_f1_interval
from tl_core.table import Table
from tl_core.wording import percent

Value = TypeVar("Value", float, NDArray[np.float64])


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a metric is computed from: the answers to N >= 1 images of C classes, and the truth."""

    probabilities: NDArray[np.floating]
    """(N, C), each row sums to 1."""
    truth: NDArray[np.int64]
    """(N,), class indices."""
    predicted: NDArray[np.int64]
    """(N,), the likeliest class of each image."""
    confusion: NDArray[np.int64]
    """(C, C) counts; rows: true class, columns: predicted class."""
    right: NDArray[np.int64]
    """(C,), images of each class that were predicted as it."""
    said: NDArray[np.int64]
    """(C,), images that were predicted as each class."""
    support: NDArray[np.int64]
    """(C,), images of each class."""


@dataclass(frozen=True, kw_only=True)
class Metric(Generic[Value]):
    name: str
    """The key in report.json and in what the command line prints as JSON."""
    title: str
    """The metric's name inside a sentence or above a column."""
    meaning: str
    """What the value says, for people who meet it for the first time; a sentence without its full stop."""
    compute: Callable[[Judged], Value]
    """One value, or an array (C,) of fractions, one for each class. A value that is not finite is left out."""
    form: str | None = ".3f"
    """Python's format specification with which texts write the value. None: texts do not list it, because it stands in report.json
    only, as the log loss does, or in the headline, as the accuracy does."""

    @property
    def heading(self) -> str:
        """The title with a capital letter."""
        return self.title[:1].upper() + self.title[1:]

    def write(self, value: float | None) -> str:
        """The value as text; a hyphen where it was not finite."""
        return "-" if value is None else format(value, self.form or "")


CLASS_METRICS: Table[Metric[NDArray[np.float64]]] = Table(
    "metric of a class",
    [
        Metric(
            name="precision",
            title="precision",
            meaning="Of the pictures given this name, the share that was it",
            compute=lambda judged: judged.right / np.maximum(judged.said, 1),
        ),
        Metric(
            name="recall",
            title="recall",
            meaning="Of the pictures that were it, the share that was found",
            compute=lambda judged: judged.right / np.maximum(judged.support, 1),
        ),
        Metric(
            name="f1",
            title="F1",
            meaning="Precision and recall in one number, their harmonic mean",
            compute=lambda judged: 2 * judged.right / np.maximum(judged.said + judged.support, 1),
        ),
    ],
)
"""The metrics of each class; 0 where there is nothing to divide by, as in scikit-learn."""


def _macro_f1(judged: Judged) -> float:
    return float(CLASS_METRICS["f1"].compute(judged)[judged.said + judged.support > 0].mean())


def _log_loss(judged: Judged) -> float:
    of_truth = np.asarray(judged.probabilities[np.arange(len(judged.truth)), judged.truth], dtype=np.float64)
    return float(-np.log(of_truth.clip(1e-15, 1.0)).mean())


METRICS: Table[Metric[float]] = Table(
    "metric",
    [
        Metric(
            name="accuracy",
            title="accuracy",
            meaning="The share of the pictures that were named rightly",
            compute=lambda judged: int(judged.right.sum()) / len(judged.truth),
            form=None,
        ),
        Metric(
            name="macro_f1",
            title="macro F1",
            meaning="The mean F1 of the classes, small and large ones counted alike",
            compute=_macro_f1,
        ),
        Metric(
            name="log_loss",
            title="log loss",
            meaning="The mean of the negative logarithm of the true class's probability",
            compute=_log_loss,
            form=None,
        ),
        Metric(
            name="ece",
            title="expected calibration error",
            meaning="The mean distance between how sure the answers are and how often they are right",
            compute=lambda judged: reliability(*top_label(judged.probabilities, judged.truth)).ece,
            form=None,
        ),
    ],
)
"""The metrics of a whole split."""


def listed(measured: SplitMetrics) -> list[tuple[Metric[float], float]]:
    """The metrics that texts and JSON list beside the accuracy, with their values in `measured`, but for those that were not finite."""
    values = [(row, measured.value(row.name)) for row in METRICS.values() if row.form is not None]
    return [(row, value) for row, value in values if value is not None]


def class_table(measured: SplitMetrics) -> tuple[list[str], list[list[str]]]:
    """The headings and the rows of a table of the classes, as text."""
    columns = CLASS_METRICS.values()
    return ["class", *(metric.title for metric in columns), "pictures"], [
        [
            row.name,
            *("-" if (share := row.value(metric.name)) is None else percent(share) for metric in columns),
            str(row.support),
        ]
        for row in measured.per_class
    ]


def probabilities(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Softmax of `logits` (N, C) along the classes, safe for large values.

    Raises:
        ValueError: a logit is not a finite number.
    """
    wide = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(wide).all():
        raise ValueError("Some logits are not finite numbers.")
    shifted = np.exp(wide - wide.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def split_metrics(
    probs: NDArray[np.floating],
    truth: NDArray[np.integer],
    class_names: Sequence[str],
    groups: NDArray[np.integer] | None = None,
    folds: int | None = None,
) -> SplitMetrics:
    """All metrics of `probs` (N, C), rows summing to 1, against `truth` (N,), indices into `class_names` (C names).

    Images with the same entry of `groups` (N,) count as one draw in the intervals. `folds`: how many the answers come
    from, where they are those of cross-validation, whose intervals are wider. Without images every metric is 0 and an interval
    is (0, 1).
    """
    labels = np.asarray(truth, dtype=np.int64)
    images, count = len(labels), len(class_names)
    predicted = probs.argmax(axis=1)
    confusion = np.zeros((count, count), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    judged = Judged(
        probabilities=probs,
        truth=labels,
        predicted=predicted,
        confusion=confusion,
        right=np.diag(confusion),
        said=confusion.sum(axis=0),
        support=confusion.sum(axis=1),
    )
    of_classes = {row.name: row.compute(judged) if images else np.zeros(count) for row in CLASS_METRICS.values()}
    return SplitMetrics.model_validate(
        {
            "images": images,
            "interval": accuracy_interval(predicted == labels, groups, folds=folds),
            "macro_f1_interval": macro_f1_interval(predicted, labels, count, groups, folds=folds),
            "per_class": tuple(
                {"name": name, "support": int(support), **_finite({key: of_classes[key][at] for key in of_classes})}
                for at, (name, support) in enumerate(zip(class_names, judged.support, strict=True))
            ),
            "confusion": tuple(map(tuple, confusion.tolist())),
            **_finite({row.name: row.compute(judged) if images else 0.0 for row in METRICS.values()}),
        }
    )


def leak(right: NDArray[np.bool_], leaked: NDArray[np.bool_], groups: NDArray[np.integer]) -> Leak | None:
    """What is left of the share of `right` (N,) without the `leaked` (N,) images; `groups` (N,) as for `split_metrics`. None where none is leaked."""
    if not leaked.any():
        return None
    others = right[~leaked]
    if not len(others):
        return Leak(images=len(right), without=None)
    interval = accuracy_interval(others, groups[~leaked])
    without = Accuracy(images=len(others), accuracy=float(others.mean()), interval=interval)
    return Leak(images=int(leaked.sum()), without=without)


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    """The values that are finite, since JSON has no others."""
    return {name: float(value) for name, value in values.items() if np.isfinite(value)}


def answers(
    probs: NDArray[np.floating], truth: NDArray[np.integer], rows: NDArray[np.integer]
) -> tuple[ImageAnswer, ...]:
    """The answer to each image: `probs` (N, C), `truth` (N,), `rows` (N,) of the manifest, in that order."""
    return tuple(
        ImageAnswer(
            row=int(row),
            truth=int(label),
            predicted=int(likeliest),
            probability=float(line[likeliest]),
            truth_probability=float(line[label]),
        )
        for row, label, likeliest, line in zip(rows, truth, probs.argmax(axis=1), probs, strict=True)
    )
