"""What a story is told from: the documents of a run, and where the thumbnails of its pictures are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tl_core.documents.bundle_info import BundleInfo
from tl_core.documents.manifest import Manifest
from tl_core.documents.report import ImageAnswer, Report
from tl_core.documents.spec import TrainSpec
from tl_core.documents.tasks import Robustness, RunSlices

if TYPE_CHECKING:
    from tl_core.data.checks import Finding

MISTAKES = 12
"""Mistakes that are shown where nobody picks them."""
RIGHT = 4
"""Right answers that are shown where nobody picks them."""
MOST_PICKED = 60
"""The most answers that one story shows."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The documents of one run that ended well."""

    name: str
    """What the user calls the run."""
    report: Report
    info: BundleInfo
    spec: TrainSpec
    seconds: float | None
    """What the run took, seconds; None where that was not kept."""
    device: str
    """What it was trained on: the name of a GPU, or the name of a device in `documents.options`."""
    manifest: Manifest | None = None
    """Of the data set in the version that it learned from; None where that was deleted."""
    data_name: str = ""
    """What the user calls the data set; empty where it was deleted."""
    thumbnails: Path | None = None
    """The folder with a JPEG of at most 256 pixels for each picture of the data set; None where it was deleted."""
    findings: tuple[Finding, ...] = ()
    """What the checks say of that data set."""
    slices: RunSlices | None = None
    """Where it fails; None where nobody has asked."""
    robustness: Robustness | None = None
    """What corruptions cost; None where nobody has asked."""


def proposed(report: Report, *, mistakes: int = MISTAKES, right: int = RIGHT) -> list[ImageAnswer]:
    """Answers to show where nobody picks any: the `mistakes` wrong ones with the highest probability, and `right` ones spread evenly over all
    right answers, as the report has them. Fewer where there are fewer.
    """
    good = [answer for answer in report.answers if answer.truth == answer.predicted]
    shown = min(right, len(good))
    return [*report.mistakes()[:mistakes], *(good[place * len(good) // shown] for place in range(shown))]
