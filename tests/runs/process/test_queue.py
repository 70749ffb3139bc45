"""Turns on a device: one at a time, oldest first, over any number of apps, and nobody waits for the dead."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tests.conftest import PATIENCE, until
from tests.runs.executors import LocalScratch
from tl_core.documents.events import Event, StageStarted
from tl_core.runs.process.executor import cancel
from tl_core.runs.process.queue import drop_ticket, take_ticket, wait_for_turn
from tl_core.runs.start import jobs
from tl_core.runs.store import locks
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store, Workspace

Train = Callable[..., RunFolder]


def _times(run: RunFolder) -> tuple[float, float]:
    begun, ended = (run.path / "had_device").read_text().split()
    return float(begun), float(ended)


def test_jobs_run_one_at_a_time_in_the_order_in_which_they_were_asked_for(train: Train) -> None:
    runs = [train("half second") for _ in range(4)]
    for run in runs:
        list(jobs.follow(run))
    times = [_times(run) for run in runs]
    assert times == sorted(times)
    for (_, ended), (begun, _) in itertools.pairwise(times):
        assert begun >= ended


@pytest.mark.usefixtures("place")
def test_two_apps_on_one_store_never_train_at_once(workspace: Workspace, dataset: DatasetFolder) -> None:
    program = (
        "import sys\n"
        "from tl_core.runs.start import jobs\n"
        "from tl_core.runs.store.store import Store\n"
        "workspace = Store.default().workspace(sys.argv[1])\n"
        "dataset = workspace.dataset(sys.argv[2])\n"
        "runs = [jobs.submit_training(workspace, dataset, name='half second', device='cpu') for _ in '12']\n"
        "for run in runs:\n"
        "    list(jobs.follow(run))\n"
    )
    apps = [subprocess.Popen([sys.executable, "-c", program, workspace.token, dataset.id]) for _ in "ab"]
    assert [app.wait(PATIENCE) for app in apps] == [0, 0]
    assert [run.status().state for run in workspace.runs()] == ["succeeded"] * 4
    times = sorted(_times(run) for run in workspace.runs())
    for (_, ended), (begun, _) in itertools.pairwise(times):
        assert begun >= ended


def test_a_waiting_job_says_how_many_are_before_it_and_can_be_cancelled(train: Train) -> None:
    first, second, third = train("slow"), train("slow"), train("slow")
    until(lambda: first.status().state == "running")
    until(lambda: third.events()[0])
    assert third.status().state == "queued"
    title = third.events()[0][0]
    assert isinstance(title, StageStarted)
    assert "2 jobs are before it" in title.title
    cancel(second)
    assert second.status().state == "cancelled"
    until(lambda: "one job is before it" in third.log())
    cancel(third)
    assert third.status().state == "cancelled"
    assert third.status().seconds.get("training") is None
    assert first.status().state == "running"
    cancel(first)


def test_the_ticket_of_a_killed_waiter_is_dropped(train: Train, place: LocalScratch) -> None:
    first, second, third = train("slow"), train("slow"), train("half second")
    until(lambda: second.status().stage == "waiting")
    os.killpg(place.process(second), signal.SIGKILL)
    until(lambda: not second.alive())
    assert second.status().state == "interrupted"
    cancel(first)
    list(jobs.follow(third))
    assert third.status().state == "succeeded"
    assert [path.name for path in (Store.default().queue / "cpu").iterdir()] == ["lock"]


def test_a_free_device_is_had_at_once_and_devices_do_not_wait_for_each_other(store: object) -> None:
    queue = Store.default().queue
    held = []
    first, other = take_ticket(queue, "cpu"), take_ticket(queue, "cuda")
    for ticket in (first, other):
        turn = wait_for_turn(ticket, cancelled=lambda: False)
        try:
            next(turn)
        except StopIteration as stop:
            held.append(stop.value)
    assert len(held) == 2
    second = take_ticket(queue, "cpu")
    waiting = wait_for_turn(second, cancelled=lambda: False)
    title = next(waiting)
    assert isinstance(title, StageStarted)
    assert "one job is before it" in title.title
    drop_ticket(first)
    threading.Timer(0.2, locks.release, [held[:1]]).start()
    try:
        next(waiting)
    except StopIteration as stop:
        held[0] = stop.value
    assert locks.held(queue / "cpu" / "lock")
    locks.release(held)
    for ticket in (other, second):
        drop_ticket(ticket)
    assert not locks.held(queue / "cpu" / "lock")


def test_who_has_the_device_is_counted_once_at_every_moment(store: object) -> None:
    queue = Store.default().queue
    tickets = [take_ticket(queue, "cpu") for _ in range(3)]
    before = _asked(wait_for_turn(tickets[2], cancelled=lambda: False))
    device = _asked(wait_for_turn(tickets[0], cancelled=lambda: False))
    after = _asked(wait_for_turn(tickets[2], cancelled=lambda: False))
    assert isinstance(device, int)
    assert isinstance(before, StageStarted)
    assert isinstance(after, StageStarted)
    assert "2 jobs are before it" in before.title
    assert after.title == before.title
    locks.release([device, *(ticket.descriptor for ticket in tickets)])


def _asked(turn: Generator[Event, None, int]) -> Event | int:
    try:
        return next(turn)
    except StopIteration as stop:
        return int(stop.value)


def test_a_dropped_ticket_leaves_the_line(store: object) -> None:
    ticket = take_ticket(Store.default().queue, "cpu")
    assert locks.held(ticket.path)
    drop_ticket(ticket)
    assert not ticket.path.exists()


def test_a_lock_never_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from tl_core.runs.store import locks\n"
        "os.close(0); taken = locks.take(Path(sys.argv[1])); assert taken > 2; print(locks.held(Path(sys.argv[1])))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "lock")], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr
