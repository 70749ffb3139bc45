"""What a race is made of when it is submitted, what is refused, and how one that ended is prepared to go on."""

import pytest

from tests.runs.executors import KEEPING, Keeping
from tl_core.documents.events import Failure, Status
from tl_core.documents.spec import About
from tl_core.errors import InUse, LimitReached, OverBudget, SpecError
from tl_core.runs.comparing import missing
from tl_core.runs.process.executor import cancel, forget_lost
from tl_core.runs.start import jobs, races
from tl_core.runs.store.budgets import expected_bytes, used
from tl_core.runs.store.folders import DatasetFolder, RaceFolder
from tl_core.runs.store.store import Workspace

WAYS = ("feature_extraction", "lp_ft", "surgical")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs wait for ever in an executor."""
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    monkeypatch.setattr(Keeping, "kept", [])


@pytest.fixture
def race(elsewhere: None, workspace: Workspace, dataset: DatasetFolder) -> RaceFolder:
    return races.submit_race(workspace, dataset, strategies=WAYS, key="once", seed=4, epochs=3, device="cpu")


def test_a_race_is_made_with_all_of_its_runs_which_wait_in_it(
    race: RaceFolder, workspace: Workspace, dataset: DatasetFolder
) -> None:
    spec, runs = race.spec(), race.parts()
    assert [run.spec().strategy for run in runs] == list(WAYS)
    assert {(run.spec().seed, run.spec().epochs, run.waits_in, run.status().state) for run in runs} == {
        (4, 3, race.id, "queued")
    }
    assert (spec.about, spec.queue) == (About(workspace.token, dataset.id, 1), "cpu")
    assert {job.id for job in workspace.live()} == {race.id, *(run.id for run in runs)}
    assert races.submit_race(workspace, dataset, strategies=WAYS, key="once", seed=4, epochs=3, device="cpu") == race
    assert (Keeping.kept, len(workspace.runs())) == ([race], 3)
    with pytest.raises(InUse):
        dataset.delete()
    with pytest.raises(InUse):
        runs[0].delete()


def test_each_run_counts_in_the_budget_of_the_workspace_before_it_begins(
    race: RaceFolder, workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = sum(expected_bytes(run.spec(), 20) for run in race.parts())
    assert used(workspace).of("runs") == expected
    monkeypatch.setenv("GRAFT_WORKSPACE_GB", str(1.9 * expected / 1e9))
    with pytest.raises(OverBudget):
        races.submit_race(workspace, dataset, strategies=WAYS, device="cpu")
    assert (len(workspace.races()), len(workspace.runs())) == (1, 3)


def test_when_the_executor_loses_a_race_its_runs_are_interrupted_with_it(race: RaceFolder) -> None:
    for run in race.parts():
        forget_lost(run)
    assert {run.status().state for run in race.parts()} == {"queued"}, (
        "the executor was not asked about a run that it does not know"
    )
    Keeping.kept.clear()
    forget_lost(race)
    assert race.status().state == "interrupted"
    assert {run.status().state for run in race.parts()} == {"interrupted"}


def test_one_that_waits_is_cancelled_at_once_and_a_race_with_all_of_them(race: RaceFolder) -> None:
    first, *others = race.parts()
    cancel(first)
    assert (first.status().state, race.status().state, Keeping.kept) == ("cancelled", "queued", [race])
    cancel(race)
    assert {job.status().state for job in (race, *others)} == {"cancelled"}
    assert not Keeping.kept


def test_a_race_goes_on_with_what_was_interrupted_from_its_checkpoint(
    race: RaceFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    head, trained, waited = race.parts()
    Keeping.kept.clear()
    for job in race.parts()[:2]:
        job.submitted.unlink()
    Status(state="failed", failure=Failure(kind="bug", message="A screw is loose.", exit_code=1)).write(
        head.status_file
    )
    Status(state="running", started=1.0, seconds={"training": 8.0}).write(trained.status_file)
    Status(state="running").write(race.status_file)
    forget_lost(race)
    assert missing(race) == {trained.id, waited.id}
    monkeypatch.setattr(jobs, "_reached", lambda run, *_, **__: {trained: 2}.get(run))
    jobs.go_on(race)
    assert (Keeping.kept, race.status().state) == ([race], "queued")
    assert [run.waits_in for run in race.parts()] == [None, race.id, race.id]
    assert [run.status().resumed and run.status().resumed.epoch for run in (trained, waited)] == [2, None]
    assert head.status().state == "failed"
    assert jobs.go_on(race) == race, "one that waits is left alone"
    assert Keeping.kept == [race]


def test_a_race_that_cannot_be_submitted_leaves_nothing(
    elsewhere: None, workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(executor: Keeping, job: object, **more: object) -> None:
        raise LimitReached("No.")

    monkeypatch.setattr(Keeping, "submit", full)
    with pytest.raises(LimitReached):
        races.submit_race(workspace, dataset, strategies=WAYS, device="cpu")
    assert (workspace.races(), workspace.runs()) == ([], [])


def test_what_runs_in_a_race_follows_from_what_is_named() -> None:
    assert [(one["backbone"], one["strategy"]) for one in races.named({}, ["a", "b", "a"], ["x", "y"])] == [
        ("x", "a"), ("x", "b"), ("y", "a"), ("y", "b"),
    ]  # fmt: skip
    assert [one["strategy"] for one in races.named({}, [], [])] == list(races.STRATEGIES)
    assert [one["strategy"] for one in races.named({}, [], ["x"])] == list(races.STRATEGIES)
    assert [one["strategy"] for one in races.named({}, [], ["x", "y"])] == [None, None]
    with pytest.raises(SpecError, match="this would be 1"):
        races.named({}, ["a"], ["x"])
    with pytest.raises(SpecError, match="this would be 25"):
        races.named({}, list("abcde"), list("vwxyz"))


def test_a_race_takes_no_longer_than_a_job_may(monkeypatch: pytest.MonkeyPatch) -> None:
    assert races.require_budget(1e6) == 1e6
    monkeypatch.setenv("GRAFT_JOB_HOURS", "1")
    assert races.require_budget(3240) == 3240
    with pytest.raises(SpecError, match="at most 54\u202fmin"):
        races.require_budget(3241)
    with pytest.raises(SpecError, match="takes more than none"):
        races.require_budget(0)
