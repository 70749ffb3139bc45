"""Labels that answers contradict."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import PATIENCE
from tl_core.evaluation.suspects import LEAST_LIKELY, suspect_labels


def answered(truth: NDArray[np.int64], classes: int, sure: float) -> NDArray[np.float64]:
    """Probabilities (N, C) that give `sure` to the true class and share the rest evenly."""
    probabilities = np.full((len(truth), classes), (1 - sure) / (classes - 1))
    probabilities[np.arange(len(truth)), truth] = sure
    return probabilities


def test_flipped_labels_come_worst_first_with_the_label_that_the_others_suggest() -> None:
    truth = np.arange(60) % 3
    probabilities = answered(truth, 3, 0.96)
    probabilities[[7, 20]] = answered(truth[[7, 20]], 3, 0.99)
    labels = truth.copy()
    labels[[7, 20, 40]] = (truth[[7, 20, 40]] + 1) % 3
    probabilities[20, labels[20]] /= 2
    found = suspect_labels(probabilities, labels)
    assert [one.row for one in found] == [20, 7, 40]
    assert [(one.label, one.suggested) for one in found] == [(labels[row], truth[row]) for row in (20, 7, 40)]
    assert found[1].suggested_probability == pytest.approx(0.99)
    assert found[1].label_probability == pytest.approx(0.005)


def test_right_labels_and_unsure_answers_are_not_suspected() -> None:
    truth = np.arange(60) % 3
    assert suspect_labels(answered(truth, 3, 0.96), truth) == ()
    labels = truth.copy()
    labels[:4] = (truth[:4] + 1) % 3
    unsure = answered(truth, 3, 1 - 2 * LEAST_LIKELY - 0.01)
    assert suspect_labels(unsure, labels) == ()


def test_a_class_without_pictures_and_many_classes_with_small_shares_are_no_trouble() -> None:
    truth = np.arange(80) % 40
    labels = truth.copy()
    labels[3] = 9
    probabilities = answered(truth, 41, 0.9)
    assert [one.row for one in suspect_labels(probabilities, labels)] == [3]
    assert suspect_labels(answered(truth, 41, 0.025), truth) == (), (
        "the label is the likeliest class, however little it has"
    )


def test_cleanlab_is_imported_only_where_a_label_is_suspected() -> None:
    code = (
        "import sys, numpy; from tl_core.evaluation.suspects import suspect_labels; "
        "suspect_labels(numpy.full((4, 2), 0.5), numpy.array([0, 1, 0, 1])); print('cleanlab' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=True)
    assert done.stdout.strip() == "False"
