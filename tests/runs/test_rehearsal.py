"""The rehearsal: what it tells of each step, what it says is missing, and that nothing of it is left."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import lend, picture
from tests.runs import scratch
from tests.runs.executors import InProcess, by
from tl_core import locks
from tl_core.data.samples import SAMPLES, Sample, kept, smallest_photos
from tl_core.documents.events import Event, Outlook, StageStarted
from tl_core.errors import DiskFull
from tl_core.runs import rehearsal
from tl_core.runs.ingest_job import ingest_job
from tl_core.runs.process.executor import Executor
from tl_core.runs.process.queue import drop_ticket, take_ticket
from tl_core.runs.rehearsal import rehearse
from tl_core.runs.store.store import Store, new_token
from tl_core.runs.train_job import train_job


@pytest.fixture(autouse=True)
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "unusable_gpu", lambda: None)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`shown("slow")`: the sample is one whose jobs do what `scratch` knows under that name."""

    def show(name: str) -> None:
        row: Sample = SAMPLES["digits"].model_copy(update={"title": name})
        monkeypatch.setattr(rehearsal, "to_show", lambda: row)

    return show


def _left() -> list[Path]:
    """Workspaces of the test's store."""
    return [workspace.path for workspace in Store.default().workspaces()]


def test_the_walk_is_gone_through_twice_with_photographs_that_are_here_and_nothing_is_left(
    store: Path, exported: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    lend(exported(224), store / "cache")
    photos = smallest_photos()
    for label, name in enumerate(("church", "tench")):
        (kept(photos.name) / name).mkdir(parents=True)
        for index in range(8):
            picture(label, index).save(kept(photos.name) / name / f"{index}.jpg")
    monkeypatch.setattr(rehearsal, "LONGEST_WALK", 0.0)
    monkeypatch.setattr(rehearsal, "unusable_gpu", lambda: "PyTorch cannot use the card of this machine.")
    heard: list[Event] = []
    looks: list[None] = []
    found = by(
        InProcess({"ingest": ingest_job, "train": train_job}),
        rehearse,
        Store.default(),
        on_event=heard.append,
        meanwhile=lambda: looks.append(None),
    )
    assert [step.problem for step in found.steps] == [None, None, None]
    assert all(step.first and step.again for step in found.steps)
    assert found.walk_seconds == pytest.approx(sum(step.again or 0.0 for step in found.steps))
    titles = [event.title for event in heard if isinstance(event, StageStarted)]
    half = titles.index("Answering test pictures") + 1
    assert titles[-1] == "Answering test pictures, the second time"
    assert not any("the second time" in title for title in titles[:half])
    assert len(looks) > len(titles[:half]) / 10
    (slow,) = found.problems
    assert "Open a finished run instead of training" in slow
    assert not found.ready
    assert found.sample == photos.name
    assert found.missing[0] == "PyTorch cannot use the card of this machine."
    assert "efficientnet_lite0" in found.missing[-1]
    assert not any("prepare --photos" in sentence for sentence in found.missing)
    assert _left() == []


@pytest.mark.parametrize(
    ("does", "said", "log"), [("mended", "No class folders", ""), ("bug", "bug", "a screw is loose")]
)
def test_a_step_that_fails_is_told_and_the_next_is_not_tried(
    does: str, said: str, log: str, shown: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown("dataset")

    def full(store: Store, needed: int = 0) -> None:
        raise DiskFull("The disk is full: 1 MB is left.")

    monkeypatch.setattr(rehearsal, "require_free", full)
    executor = InProcess({"ingest": scratch.do, "train": scratch._DOES[does]})
    ticket = take_ticket(Store.default().queue, "questions", new_token(), Outlook())
    try:
        found = by(executor, rehearse, Store.default())
    finally:
        drop_ticket(ticket)
    read, train, answer = found.steps
    assert read.first is not None
    assert read.problem is train.first is answer.first is answer.problem is found.walk_seconds is None
    assert said in (train.problem or "")
    assert log in train.log
    assert str(Store.default().root) not in (train.problem or "")
    assert found.problems == (
        f"Train: {train.problem}",
        "For 10 people who try it: The disk is full: 1 MB is left.",
    )
    assert "1 other job waited or worked here" in found.missing[0]
    assert "prepare --photos" in found.missing[1]
    assert not found.ready
    assert _left() == []


def test_a_rehearsal_that_is_broken_off_ends_its_job_and_leaves_nothing(
    place: Executor, shown: Callable[[str], None]
) -> None:
    shown("slow")
    at_work: list[Path] = []

    def look() -> None:
        at_work[:] = [job.path for one in Store.default().workspaces() for job in one.live() if locks.held(job.lock)]
        if at_work:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rehearse(Store.default(), meanwhile=look)
    assert at_work
    assert _left() == []
