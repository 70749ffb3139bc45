"""The job of a race: its runs one after the other in one process, each with the record that it would have by itself.

What runs share is computed once, because they share the cache, and libraries are imported once.
"""

from __future__ import annotations

import gc
import sys
import time
import traceback
from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING, Literal, NamedTuple

from tl_core.documents.events import EpochEnded, Event, Notice, Progress, Stage, StageStarted
from tl_core.documents.status import Failure
from tl_core.errors import Cancelled, GraftError, InUse, LimitReached
from tl_core.runs.failures import failure_of
from tl_core.runs.process.queue import in_words
from tl_core.runs.process.recorder import Recorder
from tl_core.runs.process.run_job import LOOK_EVERY, Held
from tl_core.runs.store.folders import RaceFolder, RunFolder
from tl_core.runs.train_job import train_job

if TYPE_CHECKING:
    from tl_core.runs.standings import Standings


_NOTHING_YET = "Stopped: the time was up before it had learned anything."
_WITH_ITS_RACE = "It was ended with its race."
_WRITES: frozenset[Stage] = frozenset({"export", "evaluation"})
"""Stages in which a run writes and judges what it has learned; nothing would be won by stopping it there."""


class _End(NamedTuple):
    """How a run of a race ended by itself, or was ended."""

    state: Literal["succeeded", "failed", "cancelled"]
    reason: str | None = None
    """As in `Status`."""

    @property
    def said(self) -> str:
        """The last line of its log."""
        return "Done." if self.state == "succeeded" else self.reason or "Cancelled."


def race_job(race: RaceFolder) -> Generator[Event, None, None]:
    """Train the runs that wait in `race`, the one that is expected to take the least time first, and keep its leaderboard.

    After each epoch, a run that cannot win any more is stopped (`evaluation.elimination`); its best state stays. When the budget is used
    up, the run at work ends with its best state, and no other is begun. A run that fails, or that is cancelled or deleted meanwhile,
    ends by itself.

    Raises:
        GraftError: no run of the race ended well; what the first one failed with.
        Cancelled: all of them were cancelled, one by one.
        DiskFull: the leaderboard cannot be written.
    """
    yield StageStarted(stage="preparing", title="Preparing the race")
    from tl_core.runs.standings import Standings
    from tl_core.training.strategies.strategies import strategies

    deadline = time.monotonic() + race.spec().budget
    standings = Standings(race, deadline)
    runs, number = len(standings.waiting()), 0
    while (run := standings.next()) is not None:
        number += 1
        yield from _contest(race, run, standings, f"{number} of {runs}")
        row = standings.row(run)
        known = strategies().get(row.strategy)
        said = f"{known.title if known else row.strategy} on {row.backbone}:"
        right = "" if row.val_accuracy is None else f" {row.val_accuracy:.1%} right on the validation pictures."
        yield Notice(message=f"{said}{right} {row.reason or ''}".rstrip(": "))
    for run in standings.waiting():
        _leave_out(run, standings)
    _require_one(standings)


def _contest(race: RaceFolder, run: RunFolder, standings: Standings, place: str) -> Generator[Event, None, None]:
    """Train `run`, with its own record, to whichever end; `place`: "2 of 5", for the titles of stages."""
    try:
        held = Held.of(run)
    except (InUse, FileNotFoundError):
        # Somebody is deleting it. Where that is refused after all, it has not begun.
        standings.missed(run)
        return
    try:
        status, recorder = race.status(), Recorder(run)
        with closing(recorder):
            if status.device:
                recorder.device(status.device, gpu=status.gpu)
            recorder.sample(lambda: _look(recorder), LOOK_EVERY)
            standings.set(run, state="running")
            failure: Failure | None = None
            try:
                end = yield from _trained(run, recorder, standings, place)
            except GeneratorExit:
                recorder.end("cancelled", _WITH_ITS_RACE, None, reason=_WITH_ITS_RACE)
                raise
            except Exception as error:  # noqa: BLE001 - whatever ended it, the user reads a sentence, and the race goes on
                failure = failure_of(error)
                if failure.kind == "bug":
                    recorder.log(traceback.format_exc())
                end = _End("failed")
            recorder.end(end.state, failure.message if failure else end.said, failure, reason=end.reason)
    finally:
        held.release()
        _as_in_a_new_process()
    standings.ended(run, stopped=end.state == "cancelled" and end.reason is not None)


def _trained(run: RunFolder, recorder: Recorder, standings: Standings, place: str) -> Generator[Event, None, _End]:
    """Take `run` to its bundle, or to the reason why it stops."""
    reason: str | None = None
    while True:
        finishing, writes = run.finishing, False
        with closing(train_job(run)) as events:
            for event in events:
                recorder.write(event)
                yield from _told(event, place)
                if run.cancel_file.exists():
                    return _End("cancelled")
                if isinstance(event, EpochEnded):
                    lost = standings.epoch(run, event)
                    if lost:
                        return _End("cancelled", lost)
                if isinstance(event, StageStarted):
                    writes = event.stage in _WRITES
                if finishing or writes:
                    continue
                if run.finishing:
                    reason = f"It was to end with its best state{standings.after_epoch(run)}."
                    break
                if standings.left <= 0:
                    if not run.finish_early():
                        return _End("cancelled", _NOTHING_YET)
                    reason = f"Its time was up{standings.after_epoch(run)}. It ended with its best state so far."
                    recorder.write(Notice(level="warning", message=reason))
                    break
            else:
                return _End("succeeded", reason)


def _told(event: Event, place: str) -> Generator[Event, None, None]:
    """What the race tells of an event of its run at work."""
    match event:
        case StageStarted():
            yield StageStarted(stage=event.stage, title=f"{place}: {event.title}")
        case Progress() | EpochEnded():
            yield event
        case Notice() if event.level == "warning":
            yield event


def _look(recorder: Recorder) -> None:
    recorder.memory.look()


def _leave_out(run: RunFolder, standings: Standings) -> None:
    """Note in the record of `run` that it was not begun, and why."""
    expected, left = standings.row(run).expected_seconds, standings.left
    reason = "Not begun: the time was up."
    if left > 0 and expected is not None:
        reason = f"Not begun: it would take about {in_words(expected)}, and {in_words(left)} were left."
    try:
        held = Held.of(run)
    except (InUse, FileNotFoundError):
        standings.missed(run)
        return
    try:
        with closing(Recorder(run)) as recorder:
            recorder.end("cancelled", reason, None, reason=reason)
    finally:
        held.release()
    standings.set(run, state="not_begun", reason=reason)


def _as_in_a_new_process() -> None:
    """Give back the memory of the run that has ended, and let torch compute as it does when a process begins."""
    gc.collect()
    if "torch" in sys.modules:
        import torch

        torch.use_deterministic_algorithms(False)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _require_one(standings: Standings) -> None:
    """Raise why the race came to nothing, where no run of it ended well."""
    if standings.any_done:
        return
    failures = [failure for run in standings.runs if run.exists and (failure := run.status().failure)]
    if failures:
        raise GraftError.by_kind.get(failures[0].kind, GraftError)(failures[0].message)
    if all(standings.row(run).state in ("cancelled", "deleted") for run in standings.runs):
        raise Cancelled("All runs of this race were cancelled.")
    raise LimitReached(
        "The time was up before any run had learned something. Give the race more time, or smaller networks."
    )
