"""The measurement before Start: asked once, not while somebody works, and what was measured is said."""

from __future__ import annotations

import pytest

from tests.app import records
from tests.app.conftest import Open, text
from tl_core import locks
from tl_core.documents.job import Outlook
from tl_core.documents.tasks import Measurement, MeasureSpec
from tl_core.models.registry import network
from tl_core.runs.process.queue import drop_ticket, take_ticket
from tl_core.runs.start.training_spec import conditions, spec_of
from tl_core.runs.store.folders import TaskFolder
from tl_core.runs.store.store import Store, new_id
from tl_core.runs.train.estimating import measure_question
from tl_core.runs.train.resolve import settled
from tl_core.training.speed import measure
from tl_core.training.strategies.advice import advise
from tl_core.training.strategies.strategies import strategy, tuned
from ui.places import TRAIN, Here
from ui.train_page import measuring
from ui.train_page.advanced import Case
from ui.train_page.proposal import Proposal


def _spec(**changes: object) -> MeasureSpec:
    plain = {"backbone": "efficientnet_lite0", "weights": "IMAGENET1K", "strategy": "feature_extraction"}
    return MeasureSpec.model_validate({**plain, "image_size": 224, "classes": 3, "device": "cpu", **changes})


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[MeasureSpec]:
    """Questions that were put, none of which starts a worker; redrawing does nothing."""
    found: list[MeasureSpec] = []
    monkeypatch.setattr(measuring, "ask", lambda workspace, spec: found.append(spec))
    monkeypatch.setattr(measuring.st, "rerun", lambda: None)
    monkeypatch.setattr(measuring.st, "session_state", {})
    monkeypatch.setattr(measuring, "PATIENCE", 0.0)
    return found


def test_a_choice_that_stands_is_measured_once_the_device_is_idle(asked: list[MeasureSpec]) -> None:
    here = Here(records.workspace(), records.dataset(records.workspace()), None, TRAIN)
    measuring._try(here, _spec(), False)
    assert asked == [], "somebody who only passes by is not waited for"
    measuring._try(here, _spec(strategy="lp_ft"), False)
    assert asked == []
    somebody = take_ticket(Store.default().queue, "cpu", "f" * 32, Outlook())
    measuring._try(here, _spec(strategy="lp_ft"), False)
    assert asked == [], "who has the device or waits for it comes first"
    drop_ticket(somebody)
    measuring._try(here, _spec(strategy="lp_ft"), False)
    assert asked == [_spec(strategy="lp_ft")]


def test_start_ends_a_measurement(asked: list[MeasureSpec]) -> None:
    here = Here(records.workspace(), records.dataset(records.workspace()), None, TRAIN)
    question = TaskFolder(here.workspace.path / TaskFolder.stored_in / new_id())
    question.path.mkdir(parents=True)
    question.write_spec(_spec())
    held = locks.take(question.lock)
    assert held is not None
    measuring._try(here, _spec(), True)
    measuring.stop(here)
    locks.release([held])
    assert asked == []
    assert question.cancel_file.exists()


def test_start_is_never_lost_to_a_measurement_that_begins_at_the_same_moment(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*given: object) -> None:
        raise AssertionError("it is timed instead of started")

    monkeypatch.setattr(measuring, "ask", too_late)
    monkeypatch.setattr("tl_core.runs.start.jobs.submit_training", lambda *given, **asked: records.run(*given))
    app = open_page(TRAIN.file, dataset=records.dataset(records.workspace()).id)
    spec, _ = app.session_state["to-measure"]
    app.session_state["to-measure"] = (spec, 0.0)
    app.button(key="start").click().run()
    assert records.workspace().runs(), "a run was started"


@pytest.mark.parametrize("name", ["feature_extraction", "partial_fine_tuning"])
def test_the_time_on_the_page_is_that_of_the_run_which_it_starts(name: str) -> None:
    data, lite = records.dataset(records.workspace()), network("efficientnet_lite0")
    chosen = tuned(strategy(name), lite)
    case = Case(lite, lite.default_weights, chosen, conditions(chosen, lite, solver="logistic", optimizer="adamw"))
    changed = {"batch_size": 8, "seed": 3, "weight_decay": 0.1}
    proposal = Proposal.of(data, case, name, changed, advise(42, None, lite))
    run = settled(spec_of(proposal.options, data), data)
    classes = len(data.manifest().classes)
    assert measure_question(proposal.spec, classes) == measure_question(run, classes), "what is measured is found again"
    said = proposal.estimate()
    assert run.estimated_seconds == (round(said.low, 1), round(said.high, 1))


def test_what_was_measured_is_said_and_what_does_not_fit_is_warned_of(
    open_page: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = records.dataset(records.workspace())
    found = Measurement(
        backbone="efficientnet_lite0", strategy="feature_extraction", device="cpu", frozen_seconds=0.5,
        prefix_seconds=0, step_seconds=0, score_seconds=0, start_seconds=3, export_seconds=0, memory_mb=700,
    )  # fmt: skip
    monkeypatch.setattr(measure, "known", lambda spec, cache, here: found if spec.strategy == found.strategy else None)
    monkeypatch.setattr("ui.train_page.startline.room_mb", lambda device: 1000.0)
    app = open_page(TRAIN.file, dataset=data.id)
    assert "as measured here, 0.7 GB of memory" in text(app)
    assert not app.warning
    monkeypatch.setattr("ui.train_page.startline.room_mb", lambda device: 300.0)
    app = open_page(TRAIN.file, dataset=data.id)
    assert "and 0.3 GB are free here" in app.warning[0].value.replace("\\", "")
    assert not app.button(key="start").disabled
