"""Turns: one at a time on a device, round the workspaces, over any number of apps, and nobody waits for the dead."""

import errno
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
from tests.gpus import T4, Driver, FakeGpu
from tests.runs.conftest import TOKEN, Machine, ended, kill
from tests.runs.executors import LocalScratch
from tl_core import locks
from tl_core.documents.events import Event, Outlook
from tl_core.documents.gpu_card import Card
from tl_core.errors import LimitReached
from tl_core.runs.process import queue
from tl_core.runs.process.executor import cancel
from tl_core.runs.process.queue import Ticket, drop_ticket, require_room, take_ticket, wait_for_turn
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store, Workspace
from tl_core.runs.store.sweep import sweep

Train = Callable[..., RunFolder]


def _times(run: JobFolder) -> tuple[float, float]:
    begun, end = (run.path / "had_device").read_text().split()
    return float(begun), float(end)


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
    assert all(begun >= end for (_, end), (begun, _) in itertools.pairwise(times))


def test_a_waiting_job_says_how_many_are_before_it_and_can_be_cancelled(train: Train) -> None:
    first, second, third = train("slow"), train("slow"), train("slow")
    until(lambda: first.status().state == "running")
    until(lambda: third.events()[0])
    assert third.status().state == "queued"
    title = third.events()[0][0]
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
    kill(place.process(second), second)
    cancel(first)
    assert ended(third) == "succeeded"
    assert [path.name for path in (Store.default().queue / "cpu").iterdir()] == ["lock"]


def test_a_free_device_is_had_at_once_and_devices_do_not_wait_for_each_other(store: object) -> None:
    first, other = _ticket("cpu"), _ticket("cuda")
    held = [_asked(wait_for_turn(ticket, cancelled=lambda: False)) for ticket in (first, other)]
    second = _ticket("cpu")
    waiting = wait_for_turn(second, cancelled=lambda: False)
    assert "one job is before it" in _waits(waiting)
    drop_ticket(first)
    threading.Timer(0.2, locks.release, [held[:1]]).start()
    held[0] = _asked(waiting)
    lock = Store.default().queue / "cpu" / "lock"
    assert locks.held(lock)
    locks.release(held)  # type: ignore[arg-type]
    assert not locks.held(lock)
    assert locks.held(second.path)
    drop_ticket(second)
    assert not second.path.exists()


def test_who_has_the_device_is_counted_once_at_every_moment(store: object) -> None:
    tickets = [_ticket("cpu") for _ in range(3)]
    before = _waits(wait_for_turn(tickets[2], cancelled=lambda: False))
    assert _let_in(tickets[:1]) == tickets[:1]
    assert "2 jobs are before it" in before
    assert _waits(wait_for_turn(tickets[2], cancelled=lambda: False)) == before


def _ticket(queue: str, workspace: str = TOKEN, outlook: Outlook | None = None) -> Ticket:
    return take_ticket(Store.default().queue, queue, workspace, outlook or Outlook())


def _asked(turn: Generator[Event, None, int]) -> Event | int:
    try:
        return next(turn)
    except StopIteration as stop:
        return int(stop.value)


def _let_in(waiting: list[Ticket]) -> list[Ticket]:
    """Those of `waiting` that get a place now; they keep it until the test ends."""
    return [ticket for ticket in waiting if isinstance(_asked(wait_for_turn(ticket, cancelled=lambda: False)), int)]


def _order(tickets: list[Ticket]) -> list[Ticket]:
    """The order in which `tickets`, all of one device, get their turns."""
    found: list[Ticket] = []
    while len(found) < len(tickets):
        waiting = [ticket for ticket in tickets if ticket not in found]
        turns = {ticket.path: _asked(wait_for_turn(ticket, cancelled=lambda: False)) for ticket in waiting}
        ((now, place),) = [(ticket, turns[ticket.path]) for ticket in waiting if isinstance(turns[ticket.path], int)]
        found.append(now)
        drop_ticket(now)
        locks.release([place])  # type: ignore[list-item]
    return found


@pytest.mark.usefixtures("place")
def test_a_data_set_is_read_before_the_many_that_another_workspace_asked_for(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_READING_AT_ONCE", "1")

    def read(where: Workspace) -> DatasetFolder:
        return jobs.submit_ingest(where, source_kind="sample", source="scratch", name="half second")

    many, other = [read(workspace) for _ in range(3)], read(Store.default().workspace("f" * 32))
    for job in (*many, other):
        list(jobs.follow(job))
    assert sorted([*many, other], key=_times) == [many[0], other, *many[1:]]


def test_turns_go_round_the_workspaces(store: object) -> None:
    many = [_ticket("cpu", "a" * 32) for _ in range(4)]
    first = _ticket("cpu", "b" * 32)
    few = [_ticket("cpu", "c" * 32) for _ in range(2)]
    assert _order([*many, first, *few]) == [many[0], first, few[0], many[1], few[1], many[2], many[3]]


def test_who_comes_again_waits_for_those_who_had_no_turn_since(store: object) -> None:
    quick, many = _ticket("cpu", "a" * 32), [_ticket("cpu", "b" * 32) for _ in range(3)]
    (place,) = [_asked(wait_for_turn(quick, cancelled=lambda: False))]
    again = _ticket("cpu", "a" * 32)
    drop_ticket(quick)
    locks.release([place])  # type: ignore[list-item]
    late = _ticket("cpu", "a" * 32)
    assert _order([*many, again, late]) == [many[0], many[1], again, many[2], late]


def test_a_ticket_tells_nobody_the_token(store: Path) -> None:
    _ticket("cpu")
    assert not any(
        TOKEN[:8] in f"{path} {path.read_bytes()!r}" for path in (store / "queue").rglob("*") if path.is_file()
    )


@pytest.mark.parametrize("queue", ["reading", "questions"])
def test_jobs_without_a_device_wait_as_well_and_as_many_as_the_operator_says_work(
    monkeypatch: pytest.MonkeyPatch, queue: str
) -> None:
    monkeypatch.setenv(f"GRAFT_{queue.upper()}_AT_ONCE", "2")
    tickets = [_ticket(queue, f"{number:032}") for number in range(4)]
    assert _let_in(tickets) == tickets[:2]
    drop_ticket(tickets[0])
    assert _let_in(tickets[2:]) == [], "its place is left only after its ticket"


def test_a_job_that_works_counts_as_before_one_whose_turn_would_come_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_READING_AT_ONCE", "2")
    assert len(_let_in([_ticket("reading", "a" * 32) for _ in range(2)])) == 2
    waiting = _asked(wait_for_turn(_ticket("reading", "b" * 32), cancelled=lambda: False))
    assert "2 jobs are before it" in waiting.title


def test_the_line_says_how_long_the_jobs_before_take_where_that_is_known(store: object) -> None:
    def said(*before: float | None) -> str:
        ahead = [_ticket("cpu", f"{number:032}", Outlook(seconds=seconds)) for number, seconds in enumerate(before)]
        ticket = _ticket("cpu")
        event = _asked(wait_for_turn(ticket, cancelled=lambda: False))
        for one in (*ahead, ticket):
            drop_ticket(one)
        return event.title

    assert said(30.0) == "Waiting for its turn: one job is before it on this processor, for about a minute"
    assert said(300.0, 480.0).endswith("2 jobs are before it on this processor, for about 15\u202fmin")
    assert said(7200.0, None).endswith("2 jobs are before it on this processor, for more than 2\u202fh")
    assert said(None).endswith("one job is before it on this processor")


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the memory that the machine has left, megabytes; 1000 at first."""

    def left(megabytes: float) -> None:
        monkeypatch.setattr("tl_core.runs.process.queue.available_mb", lambda device: megabytes)

    left(1000.0)
    return left


def _waits(turn: Generator[Event, None, int]) -> str:
    event = next(turn)
    return event.title


@pytest.mark.parametrize(("first", "second"), [("reading", "questions"), ("cuda", "mps")])
def test_a_job_waits_for_memory_while_another_works_and_keeps_those_behind_it_waiting(
    first: str, second: str, free: Callable[[float], None]
) -> None:
    works = _ticket("cpu", outlook=Outlook(memory_mb=5000.0))
    assert _let_in([works]) == [works], "alone it starts, whatever it needs"
    works.tell(Outlook(memory_mb=0.0, running=True))
    free(700.0)
    large, small = _ticket(first, outlook=Outlook(memory_mb=800.0)), _ticket(second)
    turn = wait_for_turn(large, cancelled=lambda: False)
    assert _waits(turn).startswith("Waiting for memory: about 0.8 GB are needed, and 0.7 GB are left")
    assert _let_in([small]) == [], "jobs that need less do not pass for ever"
    free(1000.0)
    with pytest.raises(StopIteration):
        next(turn)
    assert _let_in([small]) == []
    large.tell(Outlook(memory_mb=0.0, running=True))
    assert _let_in([small]) == [small]


def test_what_a_training_is_expected_to_take_is_kept_for_it_from_trainings_and_not_from_small_jobs(
    free: Callable[[float], None],
) -> None:
    works, waits = _ticket("cpu"), _ticket("cuda")
    assert _let_in([works]) == [works]
    works.tell(Outlook(memory_mb=50_000.0, running=True))
    turn = wait_for_turn(waits, cancelled=lambda: False)
    assert _waits(turn).startswith("Waiting for memory: about 0.6 GB are needed, and 0.0 GB are left")
    first, second = _ticket("reading"), _ticket("questions")
    assert _let_in([first, second]) == [first], "0.4 GB are free beside what the first one may take"
    free(1200.0)
    assert _let_in([second]) == [second]


def test_small_jobs_that_follow_one_another_do_not_keep_a_training_waiting_for_ever(
    free: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, large = _ticket("reading"), _ticket("cpu", outlook=Outlook(memory_mb=5000.0))
    assert _let_in([reading]) == [reading]
    assert _let_in([large]) == []
    monkeypatch.setattr(queue, "_YIELDS", 0.0)
    assert _let_in([large]) == [large]
    other = _ticket("cuda", outlook=Outlook(memory_mb=5000.0))
    assert _let_in([other]) == [], "for another training it waits as long as that takes"


def test_what_a_job_left_that_was_killed_while_it_joined_a_queue_is_swept(store: Path) -> None:
    drop_ticket(_ticket("cpu"))
    left, joining = (store / "queue" / "cpu" / f".new-{number}" for number in range(2))
    for file in (left, joining):
        file.touch()
    os.utime(left, (0, 0))
    sweep(Store.default(), 0)
    assert not left.exists()
    assert joining.exists()


def test_no_more_jobs_than_the_operator_allows_wait_or_work_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_MOST_JOBS", "2")
    queue = Store.default().queue
    tickets = [_ticket("cpu"), _ticket("reading")]
    with pytest.raises(LimitReached, match=r"As many jobs wait or work .* as it takes \(2\)"):
        require_room(queue)
    drop_ticket(tickets[0])
    require_room(queue)


def test_a_ticket_that_finds_no_space_leaves_neither_a_file_nor_an_open_descriptor(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def full(descriptor: int, *_: object) -> None:
        opened.append(descriptor)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        _ticket("cpu")
    assert list((store / "queue" / "cpu").iterdir()) == []
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened[0])


def test_a_lock_never_takes_the_place_of_a_closed_stream(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from tl_core import locks\n"
        "os.close(0); taken = locks.take(Path(sys.argv[1])); assert taken > 2; print(locks.held(Path(sys.argv[1])))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "lock")], capture_output=True, text=True)
    assert done.stdout == "True\n", done.stderr


def test_on_several_gpus_each_job_has_a_card_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = tuple(Card(uuid=f"GPU-{one}", capability=(9, 0), precisions=("float32",)) for one in "ab")
    taken: list[str] = []
    monkeypatch.setattr(queue, "working_cards", lambda: cards)
    monkeypatch.setattr(queue, "take_card", lambda card: taken.append(card.uuid))
    monkeypatch.setattr(queue, "available_mb", lambda device: None)
    tickets = [_ticket("cuda") for _ in range(3)]
    assert _let_in(tickets) == tickets[:2]
    assert taken == ["GPU-a", "GPU-b"]


def test_workers_see_one_card_each_and_the_card_of_a_killed_one_goes_to_the_next(
    machine: Machine, train: Train, place: LocalScratch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_JOB_NEEDS_MB", "0")
    package = machine({"GPU-1": T4, "GPU-2": T4}, driver=Driver(FakeGpu("GPU-1", "T4"), FakeGpu("GPU-2", "T4")))
    first, second, third = (train("on a card", device="cuda") for _ in range(3))

    def has(run: JobFolder) -> str:
        until(lambda: run.status().state != "queued")
        gpu = run.status().gpu
        assert gpu is not None, run.log()
        assert (run.path / "sees").read_text() == f"{gpu.uuid} PCI_BUS_ID"
        assert str(gpu) == f"T4 ({gpu.uuid})", "only the id tells the two apart"
        return gpu.uuid

    taken = [has(first), has(second)]
    assert sorted(taken) == ["GPU-1", "GPU-2"]
    until(lambda: "2 jobs are before it" in third.log())
    assert third.status().gpu is None
    os.killpg(place.process(second), signal.SIGKILL)
    assert has(third) == taken[1]
    assert first.status().state == "running"
    assert len((package / "imported").read_text().splitlines()) == 2, "no worker tries a card again"
