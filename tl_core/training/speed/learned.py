"""How many times as long as in an estimate's sum each stage takes on this machine, from earlier runs or from reading the pictures.

Knows no folders: `runs.train.estimating` reads what runs were expected to take and what they took.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MOST_RUNS = 8
"""Number of the latest runs that an estimate learns from."""

STAGES = ("preparing", "backbone", "features", "training", "export", "evaluation")
_ON_THE_PROCESSOR = ("preparing", "backbone", "export", "evaluation")
"""Stages that a processor works at, too, where the network is computed on a GPU."""
_LEAST, _MOST = 0.25, 16.0
"""Bounds of a factor: what lies beyond is no speed of a machine, but a mistake or a moment."""
PRIOR = 2.0
"""Seconds that are added to each stage at the pace of its whole run, so that a stage of a few milliseconds does not tell how long
minutes of it will be."""


@dataclass(frozen=True)
class Former:
    """An earlier run: seconds by stage that it was expected to take and took. A stage counts if it is in both."""

    expected: Mapping[str, float]
    taken: Mapping[str, float]

    def factors(self) -> dict[str, float]:
        """For each stage, how many times as long as expected it took; a stage that does not count has the factor of the others together."""
        both = self.expected.keys() & self.taken.keys()
        whole = _ratio(sum(self.taken[stage] for stage in both), sum(self.expected[stage] for stage in both), 1.0)
        return {
            stage: _ratio(self.taken[stage], self.expected[stage], whole) if stage in both else whole
            for stage in STAGES
        }


def factors(former: Sequence[Former], *, slowness: float | None = None, device: str = "cpu") -> dict[str, float]:
    """For each stage, by how much its expected seconds are to be multiplied; empty where nothing is known.

    The median of the runs `former`, each between 1/4 and 16. Without any, `slowness` of reading the pictures
    (`events.ReadingTimed`), within the same bounds, for the stages that the processor works at.
    """
    if former:
        found = [run.factors() for run in former[:MOST_RUNS]]
        return {stage: _bounded(statistics.median(one[stage] for one in found)) for stage in STAGES}
    if slowness is None:
        return {}
    return dict.fromkeys(STAGES if device == "cpu" else _ON_THE_PROCESSOR, _bounded(slowness))


def _ratio(taken: float, expected: float, otherwise: float) -> float:
    return (taken + PRIOR * otherwise) / (expected + PRIOR)


def _bounded(factor: float) -> float:
    return min(_MOST, max(_LEAST, factor))
