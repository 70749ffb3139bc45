"""Tasks as jobs: asked twice, answered once; stopped ones start again; what they hold; how they are cleared."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import until
from tests.runs import scratch
from tests.runs.conftest import end_all, kill
from tests.runs.executors import KEEPING, InProcess, LocalScratch, by
from tl_core import locks
from tl_core.documents.events import Event
from tl_core.documents.options import Device, TrainingOptions
from tl_core.documents.tasks import DescribeSpec, Ranking, RankSpec, TaskSpec
from tl_core.errors import InUse, NotFound, SpecError, UnknownName
from tl_core.runs.process.executor import Executor, cancel
from tl_core.runs.start import jobs
from tl_core.runs.start.training_spec import rate_task
from tl_core.runs.store.folders import DatasetFolder, TaskFolder, open_job
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store, Workspace, new_token
from tl_core.runs.store.sweep import sweep
from tl_core.runs.tasks import ask as asking
from tl_core.runs.tasks.ask import ask

Rank = Callable[..., TaskFolder]
HERE = InProcess(dict.fromkeys(("describe", "rank", "preview"), scratch.do))


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[JobFolder]:
    """The jobs that this process has begun, one after the other."""
    begun: list[JobFolder] = []
    submit = InProcess.submit
    monkeypatch.setattr(
        InProcess, "submit", lambda self, job, *, store: begun.append(job) or submit(self, job, store=store)
    )
    return begun


@pytest.fixture
def rank(workspace: Workspace, dataset: DatasetFolder, place: LocalScratch) -> Iterator[Rank]:
    """Ask for a ranking, whose first backbone says what the job does; none outlives its test."""
    asked: list[TaskFolder] = []

    def start(*backbones: str, executor: Executor | None = HERE) -> TaskFolder:
        spec = RankSpec(workspace=workspace.token, dataset=dataset.id, backbones=backbones, device="cpu")
        asked.append(by(executor, ask, workspace, spec))
        return asked[-1]

    yield start
    end_all(place, asked)


def _aged(question: TaskFolder, days: float) -> None:
    then = time.time() - days * 86_400
    os.utime(question.path, (then, then))


def test_the_same_question_is_answered_once(workspace: Workspace, rank: Rank, started: list[JobFolder]) -> None:
    question = rank("answer")
    assert question.answer(Ranking) == Ranking(images=3, classes=2, rows=())
    assert rank("answer") == question
    other = rank("answer", "resnet18")
    assert started == [question, other]
    assert set(workspace.tasks()) == {question, other}


@pytest.mark.parametrize(
    ("does", "answer", "state"),
    [
        ("lacking", None, "succeeded"),
        ("answer", "{", "succeeded"),
        ("answer", "deleted", "succeeded"),
        ("mended", None, "failed"),
        ("bug", None, "failed"),
    ],
)
def test_what_has_no_whole_answer_is_asked_anew(
    rank: Rank, started: list[JobFolder], does: str, answer: str | None, state: str
) -> None:
    question = rank(does)
    assert question.status().state == state
    if answer == "deleted":
        question.result_file.unlink()
    elif answer:
        question.result_file.write_text(answer)
    assert rank(does) == question
    assert started == [question] * 2
    assert [event.type for event in question.events()[0]].count("ended") == 1, "nothing is left of the first"
    assert (question.answer(Ranking) is None) == (state == "failed")


def test_a_look_up_whose_row_is_gone_is_made_again(workspace: Workspace, started: list[JobFolder]) -> None:
    for _ in range(2):
        assert by(HERE, ask, workspace, DescribeSpec(network="answer")).status().state == "succeeded"
    assert len(started) == 2


def test_other_weights_of_the_operator_are_another_question(
    rank: Rank, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "resnet18.safetensors"
    own.write_bytes(b"some")
    monkeypatch.setenv("GRAFT_WEIGHTS_DIR", str(tmp_path))
    before = rank("answer", "resnet18")
    assert rank("answer", "resnet18") == before
    own.write_bytes(b"others")
    assert rank("answer", "resnet18") != before


def test_a_question_that_is_cleared_away_while_it_is_asked_for_is_made_again(
    rank: Rank, monkeypatch: pytest.MonkeyPatch
) -> None:
    question, really = rank("answer"), asking._answered

    def cleared(asked: TaskFolder, spec: TaskSpec) -> bool:
        answered = really(asked, spec)
        monkeypatch.setattr(asking, "_answered", really)
        asked.delete()
        return answered

    monkeypatch.setattr(asking, "_answered", cleared)
    assert rank("answer") == question
    assert question.status().state == "succeeded"


def test_a_question_at_work_is_returned_as_it_is_and_holds_what_it_asks_about(
    workspace: Workspace, dataset: DatasetFolder, rank: Rank
) -> None:
    question = rank("slow", executor=None)
    until(lambda: question.status().state == "running")
    assert rank("slow", executor=None) == question
    assert question.answer(Ranking) is None
    assert workspace.live() == [question]
    assert open_job(question.path) == question
    for delete in (dataset.delete, question.delete, workspace.delete):
        with pytest.raises(InUse):
            delete()
    cancel(question)
    assert question.status().state == "cancelled"
    dataset.delete()


def test_what_needs_the_device_waits_for_it_and_the_other_questions_for_each_other(
    workspace: Workspace,
    dataset: DatasetFolder,
    rank: Rank,
    train: Callable[..., object],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GRAFT_QUESTIONS_AT_ONCE", "1")
    train("slow")
    queue = Store.default().queue / "cpu"
    until(lambda: locks.held(queue / "lock"))
    waiting = [rank("answer", executor=None), rank("slow", executor=None)]
    described = ask(workspace, DescribeSpec(network="answer"))
    until(lambda: described.status().final)
    assert described.status().state == "succeeded"
    slow = ask(workspace, DescribeSpec(network="slow"))
    until(lambda: slow.status().state == "running")
    waiting.append(ask(workspace, DescribeSpec(network="dataset")))
    for question in waiting:
        until(lambda question=question: question.status().stage == "waiting")
    for question in (*waiting, slow):
        cancel(question)


def test_a_killed_question_starts_again(rank: Rank, place: LocalScratch) -> None:
    question = rank("slow", executor=None)

    def stages() -> list[Event]:
        return [event for event in question.events()[0] if event.type == "stage"]

    until(lambda: bool(stages()))
    kill(place.process(question), question)
    assert rank("slow", executor=None) == question
    assert question.alive()
    until(lambda: question.status().state == "running" and bool(stages()))
    assert len(stages()) == 1, "what the killed one had said is gone"


@pytest.mark.parametrize(
    ("error", "wrong"),
    [
        (NotFound, {"dataset": "../../x"}),
        (NotFound, {"dataset": "0" * 16}),
        (NotFound, {"workspace": "f" * 32}),
        (UnknownName, {"device": "tpu"}),
    ],
)
def test_wrong_questions_are_said_before_a_job_is_made(
    workspace: Workspace, dataset: DatasetFolder, error: type[Exception], wrong: dict[str, str]
) -> None:
    right = {"workspace": workspace.token, "dataset": dataset.id, "backbones": ("a",)}
    with pytest.raises(error):
        by(HERE, ask, workspace, RankSpec.model_construct(**{**right, **wrong}))
    assert workspace.tasks() == []


def test_a_data_set_that_was_not_read_is_not_asked_about(workspace: Workspace) -> None:
    broken = by(
        InProcess({"ingest": scratch.do}), jobs.submit_ingest, workspace, source_kind="sample", source="x", name="bug"
    )
    with pytest.raises(SpecError, match="not read to the end"):
        by(HERE, ask, workspace, RankSpec(workspace=workspace.token, dataset=broken.id, backbones=("a",)))
    assert workspace.tasks() == []


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_where_questions_are_answered_elsewhere_their_device_is_found_there(
    workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch, device: Device
) -> None:
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    spec = RankSpec(workspace=workspace.token, dataset=dataset.id, backbones=("resnet18",), device=device)
    question = ask(workspace, spec)
    assert question.spec() == spec
    assert ask(workspace, spec) == question
    cancel(question)
    rates = rate_task(TrainingOptions(device=device), dataset)
    assert rates.train.device == device
    question = ask(workspace, rates)
    assert question.spec().queue == device
    cancel(question)


def test_questions_are_cleared_after_a_day_or_with_their_data_set(
    workspace: Workspace, dataset: DatasetFolder, rank: Rank
) -> None:
    old, fresh, asked_again = (rank("answer", name) for name in ("a", "b", "c"))
    at_work = rank("slow", executor=None)
    apart = by(HERE, ask, workspace, DescribeSpec(network="answer"))
    for question in (old, asked_again, at_work):
        _aged(question, 2)
    assert rank("answer", "c") == asked_again
    sweep(Store.default(), 0)
    assert not old.exists
    assert all(question.exists for question in (fresh, asked_again, at_work, apart))
    cancel(at_work)
    dataset.delete()
    sweep(Store.default(), 0)
    assert workspace.tasks() == [apart]


def test_a_question_makes_a_workspace_where_there_is_none(store: Path) -> None:
    workspace = Store.default().workspace(new_token())
    question = by(HERE, ask, workspace, DescribeSpec(network="answer"))
    assert question.path.is_relative_to(workspace.path)
    assert question.status().state == "succeeded"
