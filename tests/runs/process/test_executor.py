"""The setting GRAFT_EXECUTOR, and jobs that wait in an executor with no worker yet."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from tests.runs.conftest import HERE
from tl_core.errors import InUse, SpecError, UnknownName
from tl_core.runs.process.executor import EXECUTORS, cancel, chosen
from tl_core.runs.process.local import LocalProcesses
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Workspace


class Keeping(LocalProcesses):
    """Keeps jobs and starts none; loses them when it is told to."""

    kept: ClassVar[list[JobFolder]] = []

    def submit(self, job: JobFolder, *, store: Path) -> None:
        self.kept.append(job)

    def cancel(self, job: JobFolder) -> None:
        self.kept.remove(job)

    def alive(self, job: JobFolder) -> bool:
        return job in self.kept


class Refusing(Keeping):
    def submit(self, job: JobFolder, *, store: Path) -> None:
        raise OSError("The cluster is closed.")


KEEPING = f"{__name__}:Keeping"


@pytest.fixture
def waiting(workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run that an executor has accepted and that no worker has."""
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
    for delete in (seen.delete, workspace.delete):
        with pytest.raises(InUse, match="still at work"):
            delete()
    assert jobs.submit_training(workspace, dataset, name="half second", key="one") == waiting
    assert Keeping.kept == [waiting]
    cancel(waiting)
    assert Keeping.kept == []
    assert waiting.status().state == "cancelled"
    waiting.delete()
    assert workspace.runs() == []


def test_a_job_that_its_executor_lost_is_interrupted(waiting: RunFolder) -> None:
    Keeping.kept.clear()
    assert list(jobs.follow(waiting)) == []
    assert waiting.status().state == "interrupted"


def test_a_job_that_waited_runs_to_its_end_once_it_is_started(waiting: RunFolder) -> None:
    Keeping.kept.clear()
    HERE.submit(waiting, store=waiting.path.parents[3])
    assert waiting.status().state == "succeeded"
    assert not waiting.alive()


def test_a_job_that_no_executor_accepted_does_not_wait_for_ever(
    workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_EXECUTOR", f"{__name__}:Refusing")
    with pytest.raises(OSError, match="closed"):
        jobs.submit_training(workspace, dataset)
    (run,) = workspace.runs()
    assert run.status().state == "interrupted"


def test_one_that_waits_can_be_claimed_by_nobody_and_one_that_ended_once(waiting: RunFolder) -> None:
    assert waiting.claim() is None
    cancel(waiting)
    first = waiting.claim()
    assert first is not None
    assert waiting.claim() is None


def test_the_setting_names_a_row_or_a_class_and_all_else_lists_the_rows(
    monkeypatch: pytest.MonkeyPatch, workspace: Workspace
) -> None:
    monkeypatch.delenv("GRAFT_EXECUTOR", raising=False)
    assert isinstance(chosen(), LocalProcesses)
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    assert type(chosen()) is Keeping
    for name, error, part in (
        ("no-such", UnknownName, ", ".join(EXECUTORS)),
        ("no.such.module:Class", SpecError, "no.such.module"),
        ("pathlib:Folder", SpecError, "Folder"),
        ("pathlib:Path", SpecError, "submit, cancel, alive and log"),
    ):
        monkeypatch.setenv("GRAFT_EXECUTOR", name)
        with pytest.raises(error, match=part):
            jobs.submit_ingest(workspace, source_kind="sample", source="digits", name="x")
    assert not workspace.exists
