"""How long a run that works will still take, from what it was expected to take and what it took so far. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tl_core.documents.events import Ended, Event, Resumed, Stage, StageStarted
from tl_core.training.speed.learned import PRIOR, STAGES

_BEGINNING: tuple[Stage, ...] = ("waiting", "preparing")
"""Stages with which a job that trains begins, and begins again where it was stopped."""


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
        found = {stage: round(seconds, 3) for stage, seconds in self.until(self._latest).items()}
        return {**found, "total": round(sum(found.values()) - found.get("waiting", 0.0), 3)}


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
    order = [known for known in STAGES if known in expected]
    done, coming = order[: order.index(stage)], order[order.index(stage) + 1 :]
    usual = sum(between) / 2 / planned
    pace = (sum(taken.get(known, 0.0) for known in done) + PRIOR * usual) / (
        sum(expected[known] for known in done) + PRIOR
    )
    if in_stage is None:
        in_stage = pace * expected[stage] - taken.get(stage, 0.0)
        if in_stage <= 0:
            return None
    return in_stage + pace * sum(expected[known] for known in coming)
