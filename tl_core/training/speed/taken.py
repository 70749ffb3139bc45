"""What stages of runs took against what was expected: how that scales the next estimate, and how long a run that works still takes.

Knows no folders, and imports no torch: `runs.train.plan` reads what earlier runs were expected to take and what they took.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tl_core.documents.events import Ended, Event, Resumed, Stage, StageStarted

MOST_RUNS = 8
"""Number of the latest runs that an estimate learns from."""

STAGES = ("preparing", "backbone", "features", "training", "export", "evaluation")
_ON_THE_PROCESSOR = ("preparing", "backbone", "export")
"""Stages that a processor works at, too, where the network is computed on a GPU."""
_LEAST, _MOST = 0.25, 16.0
"""Bounds of a factor: what lies beyond is no speed of a machine, but a mistake or a moment."""
PRIOR = 2.0
"""Seconds that are added to each stage at the pace of its whole run, so that a stage of a few milliseconds does not tell how long
minutes of it will be."""
_BEGINNING: tuple[Stage, ...] = ("waiting", "preparing")
"""Stages with which a job that trains begins, and begins again where it was stopped."""


@dataclass(frozen=True)
class Former:
    """An earlier run: seconds by stage that it was expected to take and took. A stage counts if it is in both."""

    kind: tuple[str, ...]
    """What runs of one kind have in common: backbone and strategy."""
    expected: Mapping[str, float]
    taken: Mapping[str, float]
    memory: float | None = None
    """The memory that it had, as a share of what was expected; None where that is not known."""

    def factors(self) -> dict[str, float]:
        """For each stage, how many times as long as expected it took; a stage that does not count has the factor of the others together."""
        both = self.expected.keys() & self.taken.keys()
        whole = _ratio(sum(self.taken[stage] for stage in both), sum(self.expected[stage] for stage in both), 1.0)
        return {
            stage: _ratio(self.taken[stage], self.expected[stage], whole) if stage in both else whole
            for stage in STAGES
        }


def factors(
    former: Sequence[Former], kind: tuple[str, ...], *, device: str, gpu: float, processor: float
) -> dict[str, float]:
    """For each stage, by how much its expected seconds are to be multiplied, between 1/4 and 16.

    The median of the latest runs of that `kind` in `former`, else of all. Without any: how many times as long as in the table of
    speeds the `processor` takes, and on a GPU that one.
    """
    if not former:
        both = {stage: processor if stage in _ON_THE_PROCESSOR or device == "cpu" else gpu for stage in STAGES}
        return {stage: _bounded(slowness) for stage, slowness in both.items()}
    alike = [run.factors() for run in former if run.kind == kind] or [run.factors() for run in former]
    return {stage: _bounded(statistics.median(run[stage] for run in alike)) for stage in STAGES}


def memory_factor(former: Sequence[Former], kind: tuple[str, ...]) -> float:
    """By how much the expected memory is to be multiplied: as the latest runs of that `kind` had it, else 1."""
    alike = [run.memory for run in former if run.kind == kind and run.memory is not None]
    return _bounded(statistics.median(alike)) if alike else 1.0


def _ratio(taken: float, expected: float, otherwise: float) -> float:
    return (taken + PRIOR * otherwise) / (expected + PRIOR)


def _bounded(factor: float) -> float:
    return min(_MOST, max(_LEAST, factor))


@dataclass
class Taken:
    """How long the stages of a job took, from its events in order. What lies between a stop and the next start does not count."""

    _seconds: dict[str, float] = field(default_factory=dict)
    """Of the stages that have ended."""
    _stage: Stage | None = None
    """The stage that runs."""
    _began: float = 0.0
    _latest: float = 0.0
    """When that stage began, and when the last event was, seconds since the epoch."""

    def take(self, event: Event) -> None:
        """Count what `event` says."""
        match event:
            case Resumed():
                self._seconds = {stage: taken for stage, taken in event.seconds.items() if stage != "total"}
                self._stage = None
            case StageStarted():
                again = event.stage in _BEGINNING and self._stage not in _BEGINNING
                self._seconds = self.until(self._latest if again else event.time)
                self._stage, self._began = event.stage, event.time
            case Ended():
                self._seconds, self._stage = self.until(event.time), None
        self._latest = event.time

    def until(self, now: float) -> dict[str, float]:
        """Seconds by stage, those of the stage that runs until `now`, seconds since the epoch."""
        if self._stage is None:
            return self._seconds
        return {**self._seconds, self._stage: self._seconds.get(self._stage, 0.0) + now - self._began}

    def in_all(self) -> dict[str, float]:
        """Seconds by stage until the last event, and their `total` without that of waiting, as in `Status.seconds`."""
        seconds_of = {stage: round(seconds, 3) for stage, seconds in self.until(self._latest).items()}
        return {**seconds_of, "total": round(sum(seconds_of.values()) - seconds_of.get("waiting", 0.0), 3)}


def seconds_left(
    expected: Mapping[str, float],
    between: tuple[float, float],
    taken: Mapping[str, float],
    stage: str,
    in_stage: float | None = None,
) -> float | None:
    """Seconds that the whole run will still take; None where they are not known: the stage was not expected, or takes longer than that.

    `expected` are seconds by stage before they are scaled, and `between` the range that was said of the run (both of its spec).
    `taken` are the seconds of the stages so far, that of `stage`, which runs now, among them. `in_stage` are the seconds that this stage says it
    still needs. What is not known of later stages is scaled by how much longer than expected the earlier ones took.
    """
    planned = sum(expected.values())
    if stage not in expected or not planned:
        return None
    order = [each for each in STAGES if each in expected]
    done, coming = order[: order.index(stage)], order[order.index(stage) + 1 :]
    usual = sum(between) / 2 / planned
    pace = (sum(taken.get(each, 0.0) for each in done) + PRIOR * usual) / (sum(expected[each] for each in done) + PRIOR)
    if in_stage is None:
        in_stage = pace * expected[stage] - taken.get(stage, 0.0)
        if in_stage <= 0:
            return None
    return in_stage + pace * sum(expected[each] for each in coming)
