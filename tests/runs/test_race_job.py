"""Races of training runs: what one is made of, the same numbers as by themselves, who is stopped, and what becomes of the rest."""

from collections.abc import Callable, Generator
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest

from tests.conftest import until
from tests.runs.conftest import BOTH, SIZE, SMALL, end_all, ended, epochs, failure, kill
from tests.runs.executors import KEEPING, InProcess, Keeping, by
from tests.runs.scratch import judge
from tl_core.documents.events import EpochEnded, Event, Failure, Progress, StageStarted, Status
from tl_core.documents.spec import About
from tl_core.errors import InUse, LimitReached, OverBudget, SpecError, WeightsUnavailable
from tl_core.evaluation import comparison
from tl_core.runs.comparing import leaderboard, missing
from tl_core.runs.process.executor import Executor, cancel, chosen, forget_lost
from tl_core.runs.race_job import race_job
from tl_core.runs.start import jobs, races
from tl_core.runs.store.budgets import expected_bytes, used
from tl_core.runs.store.folders import DatasetFolder, RaceFolder, RunFolder
from tl_core.runs.store.store import Workspace
from tl_core.runs.train_job import train_job
from tl_core.serving.predictor import Predictor

HERE = InProcess({"race": race_job, "train": train_job})
OPTIONS: dict[str, Any] = {"image_size": SIZE, "seed": 3, "epochs": 2}
Race = Callable[..., RaceFolder]


@pytest.fixture
def race(workspace: Workspace, pets: DatasetFolder) -> Race:
    """Run a race on the pets to its end, in this process."""

    def start(*strategies: str) -> RaceFolder:
        return by(HERE, races.submit_race, workspace, pets, strategies=strategies, backbones=[SMALL], **OPTIONS)

    return start


def _rows(race: RaceFolder) -> dict[str, Any]:
    return {row.strategy: row for row in leaderboard(race).rows}


def _run(race: RaceFolder, strategy: str) -> RunFolder:
    return next(run for run in race.parts() if run.exists and run.spec().strategy == strategy)


def test_a_race_gives_the_same_runs_and_numbers_as_runs_by_themselves(
    workspace: Workspace, pets: DatasetFolder, race: Race, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparison, "JUDGED_FROM", 1.0)
    ways = ("partial_fine_tuning", "feature_extraction")
    raced = race(*ways)
    assert ended(raced) == "succeeded"
    pixels = np.stack([np.zeros((SIZE, SIZE, 3), np.uint8), np.full((SIZE, SIZE, 3), 200, np.uint8)])
    for way in ways:
        alone = by(HERE, jobs.submit_training, workspace, pets, strategy=way, backbone=SMALL, **OPTIONS)
        of_race = _run(raced, way)
        assert of_race.report() == alone.report()
        assert (Predictor(of_race.bundle).logits(pixels) == Predictor(alone.bundle).logits(pixels)).all()
        ignored = {"expected", "estimated_seconds"}
        assert of_race.spec().model_dump(exclude=ignored) == alone.spec().model_dump(exclude=ignored)
        row = _rows(raced)[way]
        assert (row.state, row.reason) == ("done", None)
        assert (row.test_accuracy, row.test_interval) == (alone.report().test.accuracy, alone.report().test.interval)
    assert [row.val_accuracy for row in leaderboard(raced).rows] == sorted(
        (row.val_accuracy for row in leaderboard(raced).rows), reverse=True
    )


def test_who_cannot_win_is_stopped_and_named_and_can_be_finished(race: Race) -> None:
    raced = race("full_fine_tuning", "feature_extraction")
    head, stopped = (_rows(raced)[way] for way in ("feature_extraction", "full_fine_tuning"))
    assert (head.state, stopped.state, stopped.epochs, stopped.planned_epochs) == ("done", "stopped", 1, 2)
    assert stopped.val_interval[1] < head.val_interval[0]
    run = _run(raced, "full_fine_tuning")
    assert stopped.reason == run.status().reason
    assert stopped.reason.startswith(f"Stopped after epoch 1 of 2: at best {stopped.val_accuracy:.0%} on 9 validation")
    assert raced.status().state == "succeeded"
    assert (run.status().state, run.status().failure, run.can_finish()) == ("cancelled", None, True)
    by(HERE, jobs.go_on, run, "best")
    assert run.status().state == "succeeded"
    finished = _rows(raced)["full_fine_tuning"]
    assert (finished.state, finished.reason) == ("done", None)
    assert finished.test_accuracy == run.report().test.accuracy


class Contest:
    """Work of the tests' own in place of training, on a clock of the tests' own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.begun: list[str] = []
        self.expected: dict[str, float | None] = {}
        self.does: dict[str, Callable[[RunFolder], Generator[Event, None, None]]] = {}
        monkeypatch.setattr("tl_core.runs.race_job._expected", lambda run: self.expected.get(run.spec().strategy))

    def race(self, race: RaceFolder) -> Generator[Event, None, None]:
        return race_job(race, train=self, clock=lambda: self.now)

    def __call__(self, run: RunFolder) -> Generator[Event, None, None]:
        self.begun.append(run.spec().strategy)
        yield StageStarted(stage="training", title="Training")
        yield from self.does.get(run.spec().strategy, self.right_away)(run)

    def right_away(self, run: RunFolder) -> Generator[Event, None, None]:
        self.now += 10
        judge(run)
        yield Progress(stage="training", done=1, total=1)

    def fails(self, run: RunFolder) -> Generator[Event, None, None]:
        yield Progress(stage="backbone", done=1, total=2)
        raise WeightsUnavailable("The weights are not on this machine.")

    def epochs(self, run: RunFolder) -> Generator[Event, None, None]:
        """Five epochs of 30 seconds, each better than the one before it."""
        if run.finishing:
            yield from self.right_away(run)
            return
        for epoch in range(1, 6):
            self.now += 30
            run.best.write_text(f"state {epoch}")
            yield EpochEnded(
                epoch=epoch, epochs=5, train_loss=1, train_accuracy=0.5, val_loss=1, val_accuracy=0.5 + epoch / 10,
                learning_rate=1, best=True,
            )  # fmt: skip
        judge(run)


@pytest.fixture
def contest(monkeypatch: pytest.MonkeyPatch) -> Contest:
    return Contest(monkeypatch)


@pytest.fixture
def short(workspace: Workspace, dataset: DatasetFolder, contest: Contest) -> Race:
    """Run a race of `contest` within 100 seconds to its end."""

    def start(*strategies: str) -> RaceFolder:
        asked = {"strategies": strategies, "device": "cpu", "budget": 100.0}
        return by(InProcess({"race": contest.race}), races.submit_race, workspace, dataset, **asked)

    return start


def test_whoever_is_expected_to_be_done_first_begins_and_what_would_take_far_too_long_does_not(
    contest: Contest, short: Race
) -> None:
    contest.expected = {"lp_ft": 300.0, "bias_and_norm": 40.0, "full_fine_tuning": 60.0, "feature_extraction": 2.0}
    raced = short(*contest.expected)
    assert contest.begun == ["feature_extraction", "bias_and_norm", "full_fine_tuning"]
    row = _rows(raced)["lp_ft"]
    assert row.state == "not_begun"
    assert row.reason == _run(raced, "lp_ft").status().reason
    assert row.reason == "Not begun: it would take about 5\u202fmin, and 70\u202fs were left."
    assert raced.status().state == "succeeded"


def test_when_the_time_is_up_the_one_at_work_ends_with_its_best_state_and_the_others_are_named(
    contest: Contest, short: Race
) -> None:
    contest.does = {"lp_ft": contest.epochs}
    contest.expected = {"lp_ft": 50.0, "full_fine_tuning": 60.0}
    raced = short("full_fine_tuning", "lp_ft")
    assert contest.begun == ["lp_ft", "lp_ft"], "the second time to finish"
    first, second = (_rows(raced)[way] for way in ("lp_ft", "full_fine_tuning"))
    run = _run(raced, "lp_ft")
    assert (first.state, first.epochs, run.status().state) == ("done", 4, "succeeded")
    assert first.reason == run.status().reason
    assert first.reason == "Its time was up after epoch 4 of 5. It ended with its best state so far."
    assert first.reason in run.log()
    assert run.best.read_text() == "state 4"
    assert (second.state, second.reason) == ("not_begun", "Not begun: the time was up.")
    assert _run(raced, "full_fine_tuning").status().state == "cancelled"


def test_a_run_that_had_learned_nothing_when_the_time_was_up_is_named(contest: Contest, short: Race) -> None:
    def looks(run: RunFolder) -> Generator[Event, None, None]:
        contest.now += 200
        yield Progress(stage="features", done=1, total=2)

    contest.does = {"feature_extraction": looks}
    raced = short("feature_extraction", "lp_ft")
    assert _rows(raced)["feature_extraction"].reason == "Stopped: the time was up before it had learned anything."
    assert failure(raced).kind == "limit_reached"
    assert failure(raced).message.startswith("The time was up before any run had learned something.")


def test_the_race_goes_on_where_one_fails_is_cancelled_or_is_deleted(
    contest: Contest, short: Race, workspace: Workspace
) -> None:
    def is_cancelled(run: RunFolder) -> Generator[Event, None, None]:
        waiting = {other.spec().strategy: other for other in workspace.runs() if other.waits_in}
        assert {other.status().state for other in waiting.values()} == {"queued"}
        with pytest.raises(InUse):
            waiting["surgical"].delete()
        for other in (waiting["surgical"], waiting["from_scratch"]):
            cancel(other)
            assert other.status().state == "cancelled"
        waiting["surgical"].delete()
        cancel(run)
        assert run.status().state == "cancelling"
        yield Progress(stage="training", done=1, total=2)

    contest.does = {"lp_ft": contest.fails, "bias_and_norm": is_cancelled}
    contest.expected = {
        "lp_ft": 1.0,
        "bias_and_norm": 2.0,
        "surgical": 3.0,
        "from_scratch": 4.0,
        "full_fine_tuning": 5.0,
    }
    raced = short(*contest.expected)
    assert contest.begun == ["lp_ft", "bias_and_norm", "full_fine_tuning"]
    assert raced.status().state == "succeeded"
    rows = _rows(raced)
    assert {way: row.state for way, row in rows.items()} == {
        "lp_ft": "failed", "bias_and_norm": "cancelled", "surgical": "deleted", "from_scratch": "cancelled", "full_fine_tuning": "done",
    }  # fmt: skip
    assert rows["lp_ft"].reason == "The weights are not on this machine."
    assert _run(raced, "lp_ft").status().failure.kind == "weights_unavailable"


def test_a_race_of_which_all_failed_says_why(contest: Contest, short: Race) -> None:
    contest.does = {"lp_ft": contest.fails, "surgical": contest.fails}
    assert failure(short("lp_ft", "surgical")).message == "The weights are not on this machine."


def test_one_can_be_finished_with_its_best_state_while_the_race_goes_on(contest: Contest, short: Race) -> None:
    def is_finished(run: RunFolder) -> Generator[Event, None, None]:
        for event in contest.epochs(run):
            assert run.finishing or jobs.go_on(run, "best") == run
            yield event

    contest.does = {"lp_ft": is_finished}
    contest.expected = {"lp_ft": 1.0, "surgical": 2.0}
    raced = short("lp_ft", "surgical")
    assert {way: row.state for way, row in _rows(raced).items()} == {"lp_ft": "done", "surgical": "done"}
    assert _rows(raced)["lp_ft"].reason == "It was to end with its best state."


@pytest.fixture
def real(workspace: Workspace, dataset: DatasetFolder, place: Executor) -> Generator[RaceFolder, None, None]:
    """A race in a worker: a head that is done in a moment, stages that train until somebody ends them, and others that wait."""
    ways = ("feature_extraction", "partial_fine_tuning", "lp_ft")
    started = races.submit_race(workspace, dataset, strategies=ways, device="cpu", budget=3000)
    assert [run.status().state for run in workspace.runs()] == ["queued"] * 3
    until(lambda: len([row for row in leaderboard(started).rows if row.state in ("done", "running")]) == 2)
    yield started
    end_all(place, [started])


def _states(race: RaceFolder) -> list[str]:
    return sorted(row.state for row in leaderboard(race).rows)


def _trains(run: RunFolder) -> bool:
    return run.status().state == "running" and run.best.is_file() and not run.finishing


def test_cancel_ends_the_race_the_one_at_work_and_those_that_wait_and_then_it_can_be_deleted(
    real: RaceFolder, workspace: Workspace
) -> None:
    at_work = next(run for run in real.parts() if run.status().state == "running")
    until(at_work.best.is_file)
    with pytest.raises(InUse):
        real.delete()
    cancel(real)
    until(lambda: not real.alive())
    assert real.status().state == "cancelled"
    assert _states(real) == ["cancelled", "cancelled", "done"]
    assert at_work.can_finish()
    assert missing(real) == set()
    real.delete()
    assert sorted(run.status().state for run in workspace.runs()) == ["cancelled", "succeeded"], "but what never began"
    assert workspace.races() == []


@BOTH
def test_after_its_worker_was_killed_a_race_goes_on_with_what_is_missing(real: RaceFolder, place: Any) -> None:
    done = next(run for run in real.parts() if run.status().state == "succeeded")
    before = done.status()
    kill(place.process(real), real)
    assert _states(real) == ["done", "interrupted", "interrupted"]
    jobs.go_on(real)
    until(lambda: "running" in _states(real))
    assert _states(real) == ["done", "running", "waiting"]
    for _ in range(2):
        until(lambda: any(_trains(run) for run in real.parts()))
        at_work = next(run for run in real.parts() if _trains(run))
        jobs.go_on(at_work, "best")
        until(lambda at_work=at_work: at_work.status().state == "succeeded")
    until(lambda: not real.alive())
    assert (real.status().state, _states(real)) == ("succeeded", ["done"] * 3)
    assert done.status() == before
    with pytest.raises(SpecError, match="No run of this race is missing"):
        jobs.go_on(real)


@pytest.mark.slow
def test_a_race_that_was_killed_goes_on_from_the_checkpoint_with_the_same_numbers(
    workspace: Workspace, pets: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_EXECUTOR", "tests.runs.executors:Local")
    ways, options = ("feature_extraction", "partial_fine_tuning"), {**OPTIONS, "epochs": 6}
    alone = jobs.submit_training(workspace, pets, strategy=ways[1], backbone=SMALL, **options)
    assert ended(alone) == "succeeded"
    started = races.submit_race(workspace, pets, strategies=ways, backbones=[SMALL], budget=3000, **options)
    run = next(run for run in started.parts() if run.spec().strategy == ways[1])
    until(lambda: run.checkpoint_file.is_file() and any(epochs(run)))
    kill(chosen().process(started), started)
    assert run.status().state == "interrupted"
    jobs.go_on(started)
    assert ended(started) == "succeeded"
    assert run.status().resumed.epoch
    assert run.report() == alone.report()


WAYS = ("feature_extraction", "lp_ft", "surgical")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs wait for ever in an executor."""
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    monkeypatch.setattr(Keeping, "kept", [])


@pytest.fixture
def queued(elsewhere: None, workspace: Workspace, dataset: DatasetFolder) -> RaceFolder:
    return races.submit_race(workspace, dataset, strategies=WAYS, key="once", seed=4, epochs=3, device="cpu")


def test_a_race_is_made_with_all_of_its_runs_which_wait_in_it(
    queued: RaceFolder, workspace: Workspace, dataset: DatasetFolder
) -> None:
    spec, runs = queued.spec(), queued.parts()
    assert [run.spec().strategy for run in runs] == list(WAYS)
    assert {(run.spec().seed, run.spec().epochs, run.waits_in, run.status().state) for run in runs} == {
        (4, 3, queued.id, "queued")
    }
    assert (spec.about, spec.queue) == (About(workspace.token, dataset.id, 1), "cpu")
    assert {job.id for job in workspace.live()} == {queued.id, *(run.id for run in runs)}
    assert races.submit_race(workspace, dataset, strategies=WAYS, key="once", seed=4, epochs=3, device="cpu") == queued
    assert (Keeping.kept, len(workspace.runs())) == ([queued], 3)
    with pytest.raises(InUse):
        dataset.delete()
    with pytest.raises(InUse):
        runs[0].delete()


def test_each_run_counts_in_the_budget_of_the_workspace_before_it_begins(
    queued: RaceFolder, workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = sum(expected_bytes(run.spec(), 20) for run in queued.parts())
    assert used(workspace).of("runs") == expected
    monkeypatch.setenv("GRAFT_WORKSPACE_GB", str(1.9 * expected / 1e9))
    with pytest.raises(OverBudget):
        races.submit_race(workspace, dataset, strategies=WAYS, device="cpu")
    assert (len(workspace.races()), len(workspace.runs())) == (1, 3)


def test_when_the_executor_loses_a_race_its_runs_are_interrupted_with_it(queued: RaceFolder) -> None:
    for run in queued.parts():
        forget_lost(run)
    assert {run.status().state for run in queued.parts()} == {"queued"}, (
        "the executor was not asked about a run that it does not know"
    )
    Keeping.kept.clear()
    forget_lost(queued)
    assert queued.status().state == "interrupted"
    assert {run.status().state for run in queued.parts()} == {"interrupted"}


def test_one_that_waits_is_cancelled_at_once_and_a_race_with_all_of_them(queued: RaceFolder) -> None:
    first, *others = queued.parts()
    cancel(first)
    assert (first.status().state, queued.status().state, Keeping.kept) == ("cancelled", "queued", [queued])
    cancel(queued)
    assert {job.status().state for job in (queued, *others)} == {"cancelled"}
    assert not Keeping.kept


def test_a_race_goes_on_with_what_was_interrupted_from_its_checkpoint(
    queued: RaceFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, trained, waited = queued.parts()
    Keeping.kept.clear()
    for job in queued.parts()[:2]:
        job.submitted.unlink()
    Status(state="failed", failure=Failure(kind="bug", message="A screw is loose.", exit_code=1)).write(
        head.status_file
    )
    Status(state="running", started=1.0, seconds={"training": 8.0}).write(trained.status_file)
    Status(state="running").write(queued.status_file)
    forget_lost(queued)
    assert missing(queued) == {trained.id, waited.id}
    monkeypatch.setattr(jobs, "_reached", lambda run, *_, **__: {trained: 2}.get(run))
    jobs.go_on(queued)
    assert (Keeping.kept, queued.status().state) == ([queued], "queued")
    assert [run.waits_in for run in queued.parts()] == [None, queued.id, queued.id]
    assert [run.status().resumed and run.status().resumed.epoch for run in (trained, waited)] == [2, None]
    assert head.status().state == "failed"
    assert jobs.go_on(queued) == queued, "one that waits is left alone"
    assert Keeping.kept == [queued]


def test_a_race_that_cannot_be_submitted_leaves_nothing(
    elsewhere: None, workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Keeping, "submit", Mock(side_effect=LimitReached("No.")))
    with pytest.raises(LimitReached):
        races.submit_race(workspace, dataset, strategies=WAYS, device="cpu")
    assert (workspace.races(), workspace.runs()) == ([], [])


def test_what_runs_in_a_race_follows_from_what_is_named() -> None:
    assert [(one["backbone"], one["strategy"]) for one in races.named({}, ["a", "b", "a"], ["x", "y"])] == [
        ("x", "a"), ("x", "b"), ("y", "a"), ("y", "b"),
    ]  # fmt: skip
    for backbones, strategies in (
        ([], list(races.STRATEGIES)),
        (["x"], list(races.STRATEGIES)),
        (["x", "y"], [None, None]),
    ):
        assert [one["strategy"] for one in races.named({}, [], backbones)] == strategies
    for strategies, backbones, count in (("a", "x", 1), ("abcde", "vwxyz", 25)):
        with pytest.raises(SpecError, match=f"this would be {count}"):
            races.named({}, list(strategies), list(backbones))


def test_a_race_takes_no_longer_than_a_job_may(monkeypatch: pytest.MonkeyPatch) -> None:
    assert races.require_budget(1e6) == 1e6
    monkeypatch.setenv("GRAFT_JOB_HOURS", "1")
    assert races.require_budget(3240) == 3240
    for seconds, words in ((3241, "at most 54\u202fmin"), (0, "takes more than none")):
        with pytest.raises(SpecError, match=words):
            races.require_budget(seconds)
