"""The job of a race: its runs one after the other in one process, each with the record that it would have by itself.

What runs share is computed once, because they share the cache, and libraries are imported once.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Callable, Generator
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from tl_core.documents.events import EpochEnded, Event, Notice, Outlook, Progress, StageStarted
from tl_core.errors import Cancelled, GraftError, InUse, LimitReached
from tl_core.runs.process.recorder import Recorder, Stopped
from tl_core.runs.process.run_job import Held, JobFunction, Late, carried_out
from tl_core.runs.store.folders import RaceFolder, RunFolder
from tl_core.runs.store.store import Store
from tl_core.runs.train_job import train_job
from tl_core.wording import duration

if TYPE_CHECKING:
    from tl_core.documents.report import Standing

_NOTHING_YET = "Stopped: the time was up before it had learned anything."
_WITH_ITS_RACE = "It was ended with its race."


def race_job(
    race: RaceFolder, *, train: JobFunction = train_job, clock: Callable[[], float] = time.monotonic
) -> Generator[Event, None, None]:
    """Train the runs that wait in `race` with `train`, the one that is expected to take the least time first.

    After each epoch, a run that cannot win any more is stopped (`evaluation.comparison`); its best state stays. When the budget is used
    up, the run at work ends with its best state, and no other is begun. A run that fails, or that is cancelled or deleted meanwhile,
    ends by itself.

    Raises:
        GraftError: no run of the race ended well; what the first one failed with.
        Cancelled: all of them were cancelled, one by one.
    """
    yield StageStarted(stage="preparing", title="Preparing the race")
    from tl_core.evaluation.comparison import next_one
    from tl_core.runs.comparing import leaderboard

    deadline = clock() + race.spec().budget
    runs = _waiting(race)
    begun: list[RunFolder] = []
    while True:
        expected = {run: _expected(run) for run in _waiting(race) if run not in begun}
        leader = max((row.val_accuracy or 0.0 for row in leaderboard(race).rows if row.state == "done"), default=None)
        run = next_one(expected, deadline - clock(), all_may=leader is None)
        if run is None:
            break
        begun.append(run)
        yield from _contest(
            race, run, train, _Bounds(race, run, lambda: deadline - clock(), leader), f"{len(begun)} of {len(runs)}"
        )
        yield from (Notice(message=_said(row)) for row in leaderboard(race).rows if row.run == run.id)
    for run, seconds in expected.items():
        _leave_out(run, seconds, deadline - clock())
    _require_one(race)


class _Bounds:
    """What ends a run of a race (`run_job.Bounds`): the time of the race, and a leader that it cannot reach any more."""

    def __init__(self, race: RaceFolder, run: RunFolder, left: Callable[[], float], leader: float | None) -> None:
        self._race, self._run, self._left, self._leader = race, run, left, leader
        self._best, self._after = 0.0, ""
        """The best validation accuracy so far, and " after epoch 4 of 10", to be put behind other words."""

    def take(self, event: Event) -> None:
        from tl_core.evaluation import comparison
        from tl_core.models.registry import network
        from tl_core.training.strategies.schedules import phases
        from tl_core.training.strategies.strategies import strategy

        if not isinstance(event, EpochEnded):
            return
        self._best = max(self._best, event.val_accuracy)
        self._after = f" after epoch {event.epoch} of {event.epochs}"
        spec, race = self._run.spec(), self._race.spec()
        last = phases(strategy(spec.strategy), len(network(spec.backbone).stages), event.epochs)[-1]
        judged = comparison.judged_from(event.epochs, last.first) <= event.epoch < event.epochs
        if judged and self._leader is not None and comparison.out_of_reach(self._best, self._leader, race.val_draws):
            raise Stopped(
                f"Stopped{self._after}: at best {self._best:.0%} on {race.val_images:,} validation pictures, where the leader has "
                f"{self._leader:.0%}."
            )

    def late(self) -> Late | None:
        if self._left() > 0:
            return None
        return Late(f"Its time was up{self._after}. It ended with its best state so far.", Stopped(_NOTHING_YET))

    def allow_finishing(self) -> None:
        """Nothing: what is delivered when the time of the race is up has what is left of the time that one job may take."""


def _contest(
    race: RaceFolder, run: RunFolder, train: JobFunction, bounds: _Bounds, place: str
) -> Generator[Event, None, None]:
    """Train `run`, with its own record, to whichever end; `place`: "2 of 5", for the titles of stages."""
    try:
        held = Held.of(run)
    except (InUse, FileNotFoundError):
        # Somebody is deleting it.
        return
    status, recorder = race.status(), Recorder(run)
    try:
        if status.device:
            recorder.device(status.device, gpu=status.gpu)
        with closing(carried_out(run, recorder, train, bounds)) as events:
            for event in events:
                match event:
                    case StageStarted():
                        yield event.model_copy(update={"title": f"{place}: {event.title}"})
                    case Progress() | EpochEnded():
                        yield event
                    case Notice() if event.level == "warning":
                        yield event
    except GeneratorExit:
        recorder.end(Stopped(_WITH_ITS_RACE))
        raise
    except Exception as error:  # noqa: BLE001 - whatever ended it, the user reads a sentence, and the race goes on
        recorder.end(error)
    finally:
        recorder.close()
        held.release()
        _as_in_a_new_process()


def _waiting(race: RaceFolder) -> list[RunFolder]:
    """The runs that have not begun and were neither cancelled nor deleted meanwhile."""
    return [run for run in race.parts() if run.waits_in == race.id and not run.cancel_file.exists()]


def _expected(run: RunFolder) -> float | None:
    """Seconds that `run` is expected to take on this machine, which its folder says from now on; None where that is not known."""
    from tl_core.runs.train.plan import outlook

    expected = Outlook()
    # What is wrong, the run meets and says.
    with suppress(GraftError):
        spec = run.spec()
        expected = outlook(spec, Store.default().workspace(spec.workspace).dataset(spec.dataset, spec.version))
    expected.write(run.expected_file)
    return expected.seconds


def _said(row: Standing) -> str:
    """How a run of the race ended, for its log."""
    from tl_core.training.strategies.strategies import strategies

    strategy = strategies().get(row.strategy)
    right = "" if row.val_accuracy is None else f" {row.val_accuracy:.1%} right on the validation pictures."
    return f"{strategy.title if strategy else row.strategy} on {row.backbone}:{right} {row.reason or ''}".rstrip(": ")


def _leave_out(run: RunFolder, expected: float | None, left: float) -> None:
    """Note in the record of `run` that it was not begun, and why: it was `expected` to take so many seconds."""
    reason = "Not begun: the time was up."
    if left > 0 and expected is not None:
        reason = f"Not begun: it would take about {duration(expected)}, and {duration(left)} were left."
    # Somebody may be deleting it.
    with suppress(InUse, FileNotFoundError):
        held = Held.of(run)
        with closing(Recorder(run)) as recorder:
            recorder.end(Stopped(reason))
        held.release()


def _as_in_a_new_process() -> None:
    """Give back the memory of the run that has ended, and let torch compute as it does when a process begins."""
    gc.collect()
    if "torch" in sys.modules:
        import torch

        torch.use_deterministic_algorithms(False)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _require_one(race: RaceFolder) -> None:
    """Raise why the race came to nothing, where no run of it ended well."""
    statuses = [run.status() for run in race.parts() if run.exists]
    if any(status.state == "succeeded" for status in statuses):
        return
    for failure in filter(None, (status.failure for status in statuses)):
        raise GraftError.by_kind.get(failure.kind, GraftError)(failure.message)
    if all(status.state == "cancelled" and status.reason is None for status in statuses):
        raise Cancelled("All runs of this race were cancelled.")
    raise LimitReached(
        "The time was up before any run had learned something. Give the race more time, or smaller networks."
    )
