"""The limits of a job that works hold whatever cannot be written."""

import os
import threading
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from tests.conftest import PATIENCE
from tests.runs.conftest import NO_SPACE, TOKEN
from tests.runs.executors import InProcess, by
from tl_core.documents.events import Event, Outlook, Progress, StageStarted
from tl_core.errors import LimitReached
from tl_core.hardware import PeakMemory
from tl_core.runs.process import run_job
from tl_core.runs.process.queue import drop_ticket, take_ticket
from tl_core.runs.process.recorder import Recorder
from tl_core.runs.start import jobs
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store, Workspace


@pytest.fixture(autouse=True)
def little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every job has more memory than it may have, and as much time as it likes."""
    monkeypatch.setenv("GRAFT_JOB_MEMORY_GB", "0.001")
    monkeypatch.setenv("GRAFT_JOB_HOURS", "0")
    monkeypatch.setenv("GRAFT_SMALL_JOB_MINUTES", "0")


def test_a_full_disk_does_not_end_the_watch_over_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    reasons: list[LimitReached] = []
    ticket = take_ticket(Store.default().queue, "cpu", TOKEN, Outlook())
    watched = run_job.Watch(ticket, PeakMemory(), reasons.append)
    monkeypatch.setattr(run_job, "_EVERY", 0.0)
    monkeypatch.setattr(os, "pwrite", Mock(side_effect=NO_SPACE))
    watched.look()
    watched.look()
    drop_ticket(ticket)
    assert ["It needs more than 0.0 GB" in reason.message for reason in reasons] == [True, True]


def test_a_job_keeps_memory_from_others_by_what_it_had_once_it_has_worked_for_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRAFT_JOB_MEMORY_GB", "500")
    monkeypatch.setattr(run_job, "_EVERY", 0.0)
    ticket = take_ticket(Store.default().queue, "cpu", TOKEN, Outlook(memory_mb=400_000.0))
    memory = PeakMemory()
    watched = run_job.Watch(ticket, memory, pytest.fail)
    watched.look()
    assert (ticket.outlook().memory_mb or 0) > 300_000, "what is expected"
    monkeypatch.setattr(run_job, "_SETTLED", 0.0)
    monkeypatch.setattr(memory, "look", lambda: 1000.0)
    monkeypatch.setattr(memory, "megabytes", lambda: 3000.0)
    watched.look()
    assert ticket.outlook().memory_mb == pytest.approx(2300), "it may come to its peak again, and a tenth more"
    drop_ticket(ticket)


def test_those_who_wait_learn_how_long_a_job_still_takes_from_what_was_expected_and_from_its_progress(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRAFT_JOB_MEMORY_GB", "500")
    monkeypatch.setattr(run_job, "_EVERY", 0.0)
    ticket = take_ticket(Store.default().queue, "cpu", TOKEN, Outlook(seconds=50_000.0))
    watched = run_job.Watch(ticket, PeakMemory(), pytest.fail)
    watched.look()
    assert 40_000 < (ticket.outlook().seconds or 0) < 50_000
    watched.take(Progress(stage="training", done=1, total=10, seconds_left=90_000.0))
    watched.look()
    assert ticket.outlook().seconds == 90_000
    drop_ticket(ticket)


def test_a_job_beyond_its_limit_ends_also_where_its_end_cannot_be_written(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended, end = threading.Event(), Recorder.end

    def refused(recorder: Recorder, error: BaseException | None = None, *, reason: str | None = None) -> int:
        if error is not None:
            raise NO_SPACE
        return end(recorder, error, reason=reason)

    def work(job: JobFolder) -> Iterator[Event]:
        yield StageStarted(stage="reading", title="Reading pictures")
        assert ended.wait(PATIENCE)

    monkeypatch.setattr(run_job, "end_process_group", ended.set)
    monkeypatch.setattr(Recorder, "end", refused)
    by(InProcess({"ingest": work}), jobs.submit_ingest, workspace, source_kind="sample", source="x", name="large")
    assert ended.is_set()
