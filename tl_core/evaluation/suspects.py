"""Which labels are probably wrong.

Judged by the answers of classifiers that did not learn from the picture in question.
"""

import numpy as np
from numpy.typing import NDArray

from tl_core.documents.report import SuspectLabel

LEAST_LIKELY = 0.03
"""Probability of a label above which it is not suspected."""


def suspect_labels(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> tuple[SuspectLabel, ...]:
    """The pictures whose label is probably wrong, the least likely label first.

    `probabilities` (N, C) are calibrated and out of fold: each row is the answer of a classifier that has seen neither the picture nor its
    copies. `labels` (N,) are indices from 0 to C - 1. How many labels are wrong is estimated by confident learning (Northcutt, Jiang and
    Chuang 2021), as cleanlab does it; suspected are so many of those that are least likely (its `low_self_confidence`), if they have
    a probability below `LEAST_LIKELY`. It accuses fewer right labels than each of cleanlab's filters alone, and finds fewer of the labels that
    were flipped by chance: `docs/data.md`. A label that all classifiers have learned wrongly is not found.

    Imports cleanlab, which brings scikit-learn and pandas and takes seconds.
    """
    truth = np.asarray(labels, dtype=np.int64)
    of_label = probabilities[np.arange(len(truth)), truth]
    suggested = probabilities.argmax(axis=1)
    if not ((of_label < LEAST_LIKELY) & (suggested != truth)).any():
        return ()
    from cleanlab.filter import find_label_issues

    rows = find_label_issues(
        truth,
        np.asarray(probabilities, dtype=np.float64),
        filter_by="low_self_confidence",
        return_indices_ranked_by="self_confidence",
        n_jobs=1,
    )
    return tuple(
        SuspectLabel(
            row=int(row),
            label=int(truth[row]),
            suggested=int(suggested[row]),
            label_probability=float(of_label[row]),
            suggested_probability=float(probabilities[row, suggested[row]]),
        )
        for row in rows
        if of_label[row] < LEAST_LIKELY and suggested[row] != truth[row]
    )
