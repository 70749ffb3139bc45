"""Numbers on how well probabilities match the truth: accuracy with its interval, F1, confusion, log loss.

Arrays in, documents out. Knows no network, no picture and no file; rows are whatever the caller numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.report import Answer, ClassMetrics, SplitMetrics
from tl_core.evaluation.intervals import wilson_interval

_SMALLEST = 1e-15


def probabilities(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Softmax of `logits` (N, C) along the classes, safe for large values.

    Raises:
        ValueError: a logit is not a finite number.
    """
    wide = np.asarray(logits, dtype=np.float64)
    if not np.isfinite(wide).all():
        raise ValueError("Some logits are not finite numbers.")
    from scipy.special import softmax

    return np.asarray(softmax(wide, axis=1))


def split_metrics(probs: NDArray[np.floating], truth: NDArray[np.integer], class_names: Sequence[str]) -> SplitMetrics:
    """Metrics of `probs` (N, C), rows summing to 1, against `truth` (N,), indices into `class_names` (C names).

    A class that neither occurs nor was predicted counts in no mean. Precision of a class that was never predicted and
    recall of one that never occurs are 0. Without images every mean is 0 and the interval is (0, 1).

    Raises:
        ValueError: shapes that do not fit, a label out of range.
    """
    labels = np.asarray(truth, dtype=np.int64)
    count = len(class_names)
    if probs.shape != (len(labels), count):
        raise ValueError(f"Probabilities {probs.shape} do not fit {len(labels)} images and {count} classes.")
    if len(labels) and (labels.min() < 0 or labels.max() >= count):
        raise ValueError(f"A label is not between 0 and {count - 1}.")
    predicted = probs.argmax(axis=1) if len(labels) else labels
    confusion = np.zeros((count, count), dtype=np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    correct = int(np.trace(confusion))
    images = len(labels)
    of_truth = np.asarray(probs[np.arange(images), labels], dtype=np.float64)
    per_class = _per_class(confusion, class_names)
    seen = [
        metrics.f1 for index, metrics in enumerate(per_class) if confusion[index].any() or confusion[:, index].any()
    ]
    return SplitMetrics(
        images=images,
        accuracy=correct / images if images else 0.0,
        interval=wilson_interval(correct, images),
        macro_f1=float(np.mean(seen)) if seen else 0.0,
        log_loss=float(-np.log(of_truth.clip(_SMALLEST, 1.0)).mean()) if images else 0.0,
        per_class=per_class,
        confusion=tuple(tuple(int(cell) for cell in row) for row in confusion),
    )


def answers(probs: NDArray[np.floating], truth: NDArray[np.integer], rows: NDArray[np.integer]) -> tuple[Answer, ...]:
    """What was said of each image: `probs` (N, C), `truth` (N,), `rows` (N,) of the manifest, in that order."""
    predicted = probs.argmax(axis=1) if len(truth) else truth
    return tuple(
        Answer(
            row=int(row),
            truth=int(label),
            predicted=int(said),
            probability=float(line[said]),
            truth_probability=float(line[label]),
        )
        for row, label, said, line in zip(rows, truth, predicted, probs, strict=True)
    )


def _per_class(confusion: NDArray[np.int64], class_names: Sequence[str]) -> tuple[ClassMetrics, ...]:
    """Ratios of the confusion matrix, 0 where there is nothing to divide by.

    scikit-learn's are the same, as a test checks; importing them takes half of the time of a run that finds its features kept.
    """
    right = np.diag(confusion).astype(np.float64)
    named, occurring = confusion.sum(axis=0), confusion.sum(axis=1)
    precision, recall = right / np.maximum(named, 1), right / np.maximum(occurring, 1)
    f1 = 2 * right / np.maximum(named + occurring, 1)
    return tuple(
        ClassMetrics(name=name, precision=float(p), recall=float(r), f1=float(f), support=int(support))
        for name, p, r, f, support in zip(class_names, precision, recall, f1, occurring, strict=True)
    )
