"""How a race stands: the rows of its leaderboard, kept by the worker of the race and read by everybody else."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from tl_core.documents.events import EpochEnded
from tl_core.documents.racing import ContestantState, Leaderboard, RaceSpec, Standing
from tl_core.documents.status import State, Status
from tl_core.errors import GraftError, NotFound
from tl_core.evaluation import elimination
from tl_core.models.registry import network
from tl_core.runs.store.folders import RaceFolder, RunFolder
from tl_core.runs.store.store import Store
from tl_core.runs.train.plan import Plan
from tl_core.runs.train.resolve import settled
from tl_core.training.strategies.schedules import phases
from tl_core.training.strategies.strategies import strategy

_STATES: Mapping[State, ContestantState] = MappingProxyType(
    {
        "queued": "waiting",
        "running": "running",
        "cancelling": "running",
        "cancelled": "cancelled",
        "succeeded": "done",
        "failed": "failed",
        "interrupted": "interrupted",
    }
)
_LEFT_OVER: frozenset[ContestantState] = frozenset({"stopped", "not_begun", "cancelled"})
"""Ends of a contestant that its run calls cancelled, too."""


def leaderboard(race: RaceFolder) -> Leaderboard:
    """How `race` stands now, also where its worker has died, or where a run was finished, cancelled or deleted since.

    Raises:
        NotFound: the race is gone.
        DocumentError: one of its documents cannot be read.
    """
    spec = race.spec()
    try:
        found = race.leaderboard()
    except NotFound:
        rows = tuple(_fresh(spec).values())
        found = Leaderboard(budget=spec.budget, spent=0.0, val_images=0, test_images=0, rows=rows)
    runs = {run.id: run for run in race.parts()}
    rows = tuple(_as_it_is(row, runs[row.run]) for row in found.rows)
    return found.model_copy(update={"rows": in_order(rows)})


def in_order(rows: Iterable[Standing]) -> tuple[Standing, ...]:
    """The best accuracy on the validation pictures first, of equal ones the quicker; those that have none yet stay as they are, behind."""
    return tuple(
        sorted(
            rows,
            key=lambda row: (1.0, 0.0) if row.val_accuracy is None else (-row.val_accuracy, row.seconds or 0.0),
        )
    )


class Standings:
    """The leaderboard of a race whose worker this is; each change is written at once."""

    def __init__(self, race: RaceFolder, deadline: float) -> None:
        """Runs that wait in the race stand at its start; the others stand as they ended before.

        `deadline`: when its budget is used up, on the monotonic clock.
        """
        self._race, self._spec, self._deadline = race, race.spec(), deadline
        self.runs = race.parts()
        before = {row.run: row for row in leaderboard(race).rows}
        fresh = _fresh(self._spec)
        self._rows = {run.id: (fresh if run.waits_in == race.id else before)[run.id] for run in self.runs}
        plan = Plan(next(run for run in self.runs if run.exists))
        val = plan.rows("val")
        self._images = len(val), len(plan.rows("test"))
        self._draws = len(np.unique(plan.groups[val]))
        """Validation pictures that show different things."""
        self._write()

    @property
    def left(self) -> float:
        """Seconds until the budget is used up; negative afterwards."""
        return self._deadline - time.monotonic()

    @property
    def any_done(self) -> bool:
        return any(row.state == "done" for row in self._rows.values())

    def row(self, run: RunFolder) -> Standing:
        return self._rows[run.id]

    def waiting(self) -> list[RunFolder]:
        """The runs that have not begun and were neither cancelled nor deleted meanwhile."""
        for run in self.runs:
            if self.row(run).state == "waiting" and (run.waits_in != self._race.id or run.cancel_file.exists()):
                self.missed(run)
        return [run for run in self.runs if self.row(run).state == "waiting"]

    def next(self) -> RunFolder | None:
        """The run to begin now (`elimination.next_one`); None where none is."""
        expected = {run: _expected(run) for run in self.waiting()}
        for run, seconds in expected.items():
            self._rows[run.id] = self.row(run).model_copy(update={"expected_seconds": seconds})
        return elimination.next_one(expected, self.left, all_may=not self.any_done)

    def epoch(self, run: RunFolder, event: EpochEnded) -> str | None:
        """Note an epoch of `run`; where it cannot win any more, why."""
        best = max(event.val_accuracy, self.row(run).val_accuracy or 0.0)
        spec = run.spec()
        self.set(
            run,
            strategy=spec.strategy,
            epochs=event.epoch,
            planned_epochs=event.epochs,
            val_accuracy=best,
            val_interval=elimination.interval(best, self._draws),
        )
        done = [row.val_accuracy for row in self._rows.values() if row.state == "done" and row.val_accuracy is not None]
        last = phases(strategy(spec.strategy), len(network(spec.backbone).stages), event.epochs)[-1]
        judged = elimination.judged_from(event.epochs, last.first) <= event.epoch < event.epochs
        if not judged or not done or not elimination.out_of_reach(best, max(done), self._draws):
            return None
        return (
            f"Stopped{self.after_epoch(run)}: at best {best:.0%} on {self._images[0]:,} validation pictures, where the leader has "
            f"{max(done):.0%}."
        )

    def after_epoch(self, run: RunFolder) -> str:
        """ " after epoch 4 of 10", to be put behind other words; empty where `run` has ended none."""
        row = self.row(run)
        return "" if row.epochs is None else f" after epoch {row.epochs} of {row.planned_epochs}"

    def ended(self, run: RunFolder, *, stopped: bool) -> None:
        """Note how `run` ended; `stopped`: by the race."""
        self._rows[run.id] = _of_ended(self.row(run), run, run.status(), stopped=stopped)
        self._write()

    def missed(self, run: RunFolder) -> None:
        """Note that `run`, which has not begun, was cancelled or deleted."""
        self.set(run, state="cancelled" if run.exists else "deleted")

    def set(self, run: RunFolder, **changes: Any) -> None:
        """Change fields of the row of `run`."""
        self._rows[run.id] = self.row(run).model_copy(update=changes)
        self._write()

    def _write(self) -> None:
        val, test = self._images
        Leaderboard(
            budget=self._spec.budget,
            spent=round(self._spec.budget - self.left, 1),
            val_images=val,
            test_images=test,
            rows=in_order(self._rows.values()),
        ).write(self._race.leaderboard_file)


def _fresh(spec: RaceSpec) -> dict[str, Standing]:
    return {
        each.run: Standing(run=each.run, backbone=each.backbone, strategy=each.strategy) for each in spec.contestants
    }


def _expected(run: RunFolder) -> float | None:
    """Seconds that `run` is expected to take on this machine; None where that is not known."""
    try:
        spec = run.spec()
        dataset = Store.default().workspace(spec.workspace).dataset(spec.dataset, spec.version)
        between = settled(spec, dataset).estimated_seconds
    except GraftError:
        # The run meets the same, and says it.
        return None
    return None if between is None else sum(between) / 2


def _as_it_is(row: Standing, run: RunFolder) -> Standing:
    """`row`, which the worker of the race wrote, as the folder of `run` says that it is now."""
    if not run.exists:
        return row.model_copy(update={"state": "deleted"})
    status = run.status()
    state = _STATES[status.state]
    if state == row.state or (state == "cancelled" and row.state in _LEFT_OVER):
        return row
    if not status.final:
        return row.model_copy(update={"state": state, "reason": None})
    return _of_ended(row, run, status, stopped=False)


def _of_ended(row: Standing, run: RunFolder, status: Status, *, stopped: bool) -> Standing:
    """`row` with what is known of a run that has ended."""
    state: ContestantState = "stopped" if stopped else _STATES[status.state]
    changes: dict[str, Any] = {
        "state": state,
        "strategy": run.spec().strategy,
        "reason": status.failure.message if status.failure else status.reason,
        "seconds": status.seconds.get("total", row.seconds),
    }
    if state == "done":
        changes |= _figures(run)
    return row.model_copy(update=changes)


def _figures(run: RunFolder) -> dict[str, Any]:
    """Accuracies of a run that ended well, with their intervals."""
    report, plan = run.report(), Plan(run)
    val = plan.rows("val")
    accuracy = report.val.accuracy
    try:
        kept = run.out_of_fold()
    except NotFound:
        pass
    else:
        # Cross-validation answered the training pictures, too; other contestants were judged on these alone.
        asked = np.isin(kept.rows, val)
        accuracy = float((kept.probabilities[asked].argmax(axis=1) == plan.labels[kept.rows[asked]]).mean())
    figures: dict[str, Any] = {
        "val_accuracy": accuracy,
        "val_interval": elimination.interval(accuracy, len(np.unique(plan.groups[val]))),
    }
    if not report.one_moment:
        figures |= {"test_accuracy": report.test.accuracy, "test_interval": report.test.interval}
    return figures
