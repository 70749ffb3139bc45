"""The setting GRAFT_EXECUTOR, and jobs that wait in an executor with no worker yet."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import pytest

from tests.runs.conftest import HERE
from tests.runs.executors import KEEPING, Keeping
from tl_core import locks
from tl_core.documents.tasks import DescribeSpec
from tl_core.errors import DiskFull, InUse, SpecError, UnknownName
from tl_core.runs.process import executor
from tl_core.runs.process.executor import EXECUTORS, cancel, chosen, forget_lost
from tl_core.runs.process.local import LocalProcesses
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Workspace
from tl_core.runs.tasks.ask import ask


class Refusing(Keeping):
    def submit(self, job: JobFolder, *, store: Path) -> None:
        raise OSError("The cluster is closed.")


class Silent(Keeping):
    """Cannot say whether a job is alive."""

    def alive(self, job: JobFolder) -> bool:
        raise RuntimeError("The scheduler does not answer.")


class Counting(Keeping):
    asked: ClassVar[list[JobFolder]] = []

    def alive(self, job: JobFolder) -> bool:
        self.asked.append(job)
        return super().alive(job)


@pytest.fixture
def waiting(workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run that an executor has accepted and that no worker has."""
    monkeypatch.setattr(Keeping, "kept", [])
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    return jobs.submit_training(workspace, dataset, name="half second", key="one")


def test_a_job_that_waits_in_an_executor_is_seen_as_waiting_by_whoever_reads_its_folder(
    workspace: Workspace, waiting: RunFolder, dataset: DatasetFolder
) -> None:
    seen = RunFolder(waiting.path)
    assert seen.alive()
    assert seen.status().state == "queued"
    assert seen.spec().device == "auto"
    assert workspace.live() == [seen]
    for delete, words in (
        (seen.delete, "still at work"),
        (workspace.delete, "still at work"),
        (dataset.delete, "needs"),
    ):
        with pytest.raises(InUse, match=words):
            delete()
    assert jobs.submit_training(workspace, dataset, name="half second", key="one") == waiting
    assert Keeping.kept == [waiting]
    cancel(waiting)
    assert Keeping.kept == []
    assert waiting.status().state == "cancelled"
    waiting.delete()
    assert workspace.runs() == []
    dataset.delete()
    assert workspace.datasets() == []


def test_a_job_that_its_executor_lost_is_interrupted(waiting: RunFolder) -> None:
    Keeping.kept.clear()
    assert list(jobs.follow(waiting)) == []
    assert waiting.status().state == "interrupted"


def test_a_question_that_its_executor_lost_starts_again_when_it_is_asked_again(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    question = ask(workspace, DescribeSpec(network="answer"))
    Keeping.kept.clear()
    assert ask(workspace, DescribeSpec(network="answer")) == question
    assert Keeping.kept == [question]
    cancel(question)


def test_an_executor_is_asked_rarely_and_is_believed_only_where_it_answers(
    waiting: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_EXECUTOR", f"{__name__}:Silent")
    forget_lost(waiting)
    assert waiting.alive()
    executor._asked.clear()
    monkeypatch.setenv("GRAFT_EXECUTOR", f"{__name__}:Counting")
    for _ in range(100):
        forget_lost(waiting)
    assert Counting.asked == [waiting]
    assert waiting.alive()
    cancel(waiting)


def test_a_job_that_another_executor_runs_is_followed_to_its_end(
    train: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train("half second")
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    Keeping.kept.clear()
    assert list(jobs.follow(run))[-1].type == "ended"
    assert run.status().state == "succeeded"


def test_a_job_that_is_submitted_again_just_now_is_not_forgotten(waiting: RunFolder) -> None:
    Keeping.kept.clear()
    with locks.holding(waiting.submitted):
        forget_lost(waiting)
        assert waiting.submitted.exists()


def test_a_job_that_waited_runs_to_its_end_once_it_is_started(waiting: RunFolder) -> None:
    Keeping.kept.clear()
    HERE.submit(waiting, store=waiting.path.parents[3])
    assert waiting.status().state == "succeeded"
    assert not waiting.alive()


def test_of_a_job_that_its_executor_refused_nothing_is_left_and_the_next_try_is_a_new_one(
    workspace: Workspace, dataset: DatasetFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for where in ({"key": "one"}, {"out": tmp_path / "out"}):
        monkeypatch.setenv("GRAFT_EXECUTOR", f"{__name__}:Refusing")
        with pytest.raises(OSError, match="closed"):
            jobs.submit_training(workspace, dataset, **where)  # type: ignore[arg-type]
        assert workspace.runs() == []
        monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
        run = jobs.submit_training(workspace, dataset, **where)  # type: ignore[arg-type]
        assert run.status().state == "queued"
        cancel(run)
        run.delete()


def test_one_that_waits_can_be_claimed_by_nobody_and_one_that_ended_once(waiting: RunFolder) -> None:
    assert waiting.claim() is None
    cancel(waiting)
    first = waiting.claim()
    assert first is not None
    assert waiting.claim() is None


def test_a_disk_that_is_full_when_a_job_takes_its_place_is_said_and_nothing_is_left(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.delenv("GRAFT_EXECUTOR", raising=False)
    monkeypatch.setattr("tl_core.runs.process.queue.Ticket.tell", full)
    with pytest.raises(DiskFull, match="no space is left for a new job"):
        jobs.submit_ingest(workspace, source_kind="sample", source="digits", name="x")
    assert workspace.datasets() == []


@pytest.mark.parametrize(
    ("name", "error", "part"),
    [
        ("no-such", UnknownName, ", ".join(EXECUTORS)),
        ("no.such.module:Class", SpecError, "no.such.module"),
        ("pathlib:Folder", SpecError, "Folder"),
        (":Class", SpecError, "cannot be used"),
        ("pathlib:Path", SpecError, "submit, cancel, alive and log"),
    ],
)
def test_the_setting_names_a_row_or_a_class_and_all_else_lists_the_rows(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace, name: str, error: type[Exception], part: str
) -> None:
    monkeypatch.delenv("GRAFT_EXECUTOR", raising=False)
    assert isinstance(chosen(), LocalProcesses)
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    assert type(chosen()) is Keeping
    monkeypatch.setenv("GRAFT_EXECUTOR", name)
    with pytest.raises(error, match=part):
        jobs.submit_ingest(workspace, source_kind="sample", source="digits", name="x")
    assert not workspace.exists
