"""Keeps in the bundle of a finished run how sure an answer has to be, and says what that gives on the held-out pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tl_core.disk import write_atomically
from tl_core.documents.report import Report, SelectiveAnswers
from tl_core.errors import NotFound, SpecError
from tl_core.evaluation.calibration import selective_answers
from tl_core.runs.store.folders import RunFolder
from tl_core.serving.bundle_files import INFO, MODEL_CARD
from tl_core.serving.card import model_card
from tl_core.serving.inspection import read_info


def kept_threshold(run: RunFolder) -> float | None:
    """The threshold in the bundle of `run`, see `BundleInfo.threshold`.

    Raises:
        NotFound: the run has no bundle.
        BundleError: its bundle.json is damaged.
    """
    return read_info(_info_file(run)).threshold


def keep_threshold(run: RunFolder, threshold: float | None) -> None:
    """Write `threshold` (a probability, above 0 and at most 1) into bundle.json and the model card of `run`; None takes it away.

    Raises:
        SpecError: it is no such probability.
        NotFound: the run did not succeed, so it has no bundle or no report.
        BundleError, DocumentError: its bundle.json, or its report, is damaged.
        DiskFull: no space is left.
    """
    if threshold is not None and not 0 < threshold <= 1:
        raise SpecError(
            f"A threshold is a probability above 0 and at most 1, such as 0.8 for 80 %; {threshold:g} is none."
        )
    file, report = _info_file(run), run.report()
    info = read_info(file).model_copy(update={"threshold": threshold})
    write_atomically(run.bundle / MODEL_CARD, model_card(info, report).encode())
    info.write(file)


def withheld(report: Report, threshold: float) -> SelectiveAnswers:
    """What is left of the answers to the held-out pictures if those below `threshold` are withheld."""
    confidence = np.array([answer.probability for answer in report.answers])
    right = np.array([answer.predicted == answer.truth for answer in report.answers], dtype=bool)
    return selective_answers(confidence, right, threshold=threshold)


def _info_file(run: RunFolder) -> Path:
    file = run.bundle / INFO
    if not file.is_file():
        raise NotFound(f"{run.path} has no bundle. Name the folder of a run that has ended well.")
    return file
