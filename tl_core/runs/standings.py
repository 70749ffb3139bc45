"""How a race stands: rows made from the records of its runs each time that somebody asks, so nothing has to be kept in step with them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from tl_core.disk import modified
from tl_core.documents.events import EpochEnded, Resumed, State
from tl_core.documents.report import ContestantState, Leaderboard, Standing
from tl_core.evaluation import elimination
from tl_core.runs.store.folders import RaceFolder, RunFolder

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


def leaderboard(race: RaceFolder) -> Leaderboard:
    """How `race` stands now. The best accuracy on the validation pictures comes first, of equal ones the quicker; those that have none stay
    as they are, behind.

    Raises:
        NotFound: the race is gone.
        DocumentError: one of its documents cannot be read.
    """
    spec, status = race.spec(), race.status()
    rows = [
        Standing(
            run=run.id, **{"backbone": asked.backbone, "strategy": asked.strategy, **_standing(run, spec.val_draws)}
        )
        for run, asked in zip(race.parts(), spec.contestants, strict=True)
    ]
    rows.sort(key=lambda row: (1.0, 0.0) if row.val_accuracy is None else (-row.val_accuracy, row.seconds or 0.0))
    # Its last event comes at most a moment before now, and where its worker was killed, then.
    until_now = modified(race.events_file) - status.started if status.started else 0.0
    return Leaderboard(
        budget=spec.budget,
        spent=round(status.seconds.get("total", until_now), 1),
        val_images=spec.val_images,
        test_images=spec.test_images,
        rows=tuple(rows),
    )


def missing(race: RaceFolder) -> set[str]:
    """Ids of the runs with which `race`, which has ended, can go on."""
    return {row.run for row in leaderboard(race).rows if row.state in ("interrupted", "not_begun")}


def _standing(run: RunFolder, draws: int) -> dict[str, Any]:
    """What the folder of `run` says of it, in the fields of its row; `draws`: validation pictures that show different things."""
    if not run.exists:
        return {"state": "deleted"}
    status, epochs = run.status(), _epochs(run)
    state = _STATES[status.state]
    if status.state == "cancelled" and status.reason and not run.cancel_file.exists():
        state = "stopped" if status.started else "not_begun"
    row: dict[str, Any] = {
        "strategy": run.spec().strategy,
        "state": state,
        "reason": status.failure.message if status.failure else status.reason,
        "seconds": status.seconds.get("total") if status.final else None,
        "expected_seconds": run.expected().seconds,
    }
    if epochs:
        row |= {"epochs": epochs[-1].epoch, "planned_epochs": epochs[-1].epochs}
        row["val_accuracy"] = max(event.val_accuracy for event in epochs)
    if state == "done":
        report = run.headline()
        row["val_accuracy"] = report.val.accuracy if report.val_alone is None else report.val_alone
        if not report.one_moment:
            row |= {"test_accuracy": report.test.accuracy, "test_interval": report.test.interval}
    if "val_accuracy" in row:
        row["val_interval"] = elimination.interval(row["val_accuracy"], draws)
    return row


def _epochs(run: RunFolder) -> list[EpochEnded]:
    """The epochs of `run` that count."""
    epochs: list[EpochEnded] = []
    for event in run.events(only=("epoch", "resumed"))[0]:
        if isinstance(event, EpochEnded):
            epochs.append(event)
        elif isinstance(event, Resumed) and event.epoch is None:
            epochs.clear()
    return epochs
