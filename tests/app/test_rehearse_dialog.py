"""Rehearse on Home: what the dialog tells of the camera and of the walk, and whom it refuses."""

from collections.abc import Callable

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from tests.app.conftest import Open, text
from tests.cli.test_service import FAILED, READY
from tl_core import locks
from tl_core.documents.events import Progress, StageStarted
from tl_core.runs.rehearsal import Rehearsal
from tl_core.runs.store.store import Store
from ui import visitor
from ui.rehearsing import rehearse_dialog
from ui.rehearsing.rehearse_dialog import Camera

Went = Callable[[Rehearsal], list[Store]]


@pytest.fixture
def went(monkeypatch: pytest.MonkeyPatch) -> Went:
    """`went(found)`: from now on a rehearsal finds that; the stores in which it was asked for."""

    def give(found: Rehearsal) -> list[Store]:
        asked = []

        def rehearse(store: Store, *, on_event: Callable[..., None], meanwhile: Callable[[], None]) -> Rehearsal:
            on_event(StageStarted(stage="training", title="Fitting the last layer"))
            on_event(Progress(stage="training", done=1, total=2))
            meanwhile()
            asked.append(store)
            return found

        monkeypatch.setattr(rehearse_dialog, "rehearse", rehearse)
        return asked

    return give


def go_on(open_page: Open) -> AppTest:
    app = open_page().button(key="rehearse").click().run()
    return app.button(key="rehearse-no-camera").click().run()


def test_the_camera_is_asked_for_first_and_the_walk_is_told_with_what_is_missing(open_page: Open, went: Went) -> None:
    asked = went(READY)
    app = open_page().button(key="rehearse").click().run()
    assert not asked
    app = app.button(key="rehearse-no-camera").click().run()
    said = text(app)
    assert "The camera was not asked for" in said
    assert "**Ready.** People will wait 11\N{NARROW NO-BREAK SPACE}s" in said
    assert "| Train | 20.0 s | 6.2 s |" in said
    assert "- Photographs are not here" in said
    app = app.run()
    assert len(asked) == 1, "what was found stays"
    app = app.button(key="rehearse-again").click().run()
    assert len(asked) == 2


def test_what_failed_stands_above_the_table_with_the_log(open_page: Open, went: Went) -> None:
    went(FAILED)
    app = go_on(open_page)
    assert [warning.value for warning in app.warning] == ["Train\\: It died\\."]
    assert not app.success
    assert "| Train | 20.0 s | failed |" in text(app)
    assert "| First answers |  | not tried |" in text(app)
    assert app.code[-1].value == "one\ntwo"


def test_a_stranger_rehearses_as_often_as_he_may_start_jobs(
    open_page: Open, went: Went, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = went(READY)
    monkeypatch.setattr("ui.visitor.address", lambda: "203.0.113.7")
    visitor.STARTS._moments.clear()
    monkeypatch.setenv("GRAFT_STARTS_AN_HOUR", "1")
    app = go_on(open_page)
    app = app.button(key="rehearse-again").click().run()
    assert "As many jobs as this server allows within an hour" in app.error[0].value
    assert len(asked) == 1


def test_while_one_rehearses_another_is_told_so(open_page: Open, went: Went) -> None:
    # The command line may be the one that is at work.
    Store.default().make()
    with locks.holding(Store.default().root / "rehearsing"):
        app = go_on(open_page)
    assert "Another rehearsal is at work" in app.error[0].value
    asked = went(READY)
    app = app.button(key="rehearse-again").click().run()
    assert len(asked) == 1
    assert not app.error


@pytest.mark.parametrize(
    ("answer", "camera"),
    [
        ({"state": "works", "label": "Front", "width": 640, "height": 480}, Camera(state="works", label="Front", width=640, height=480)),
        ({"state": "busy"}, Camera(state="busy")),
        ({"state": "elsewhere"}, None),
        ({"state": "works", "label": "x" * 1000}, None),
        (None, None),
    ],
)  # fmt: skip
def test_what_a_browser_says_of_its_camera_is_checked(
    answer: object, camera: Camera | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    rehearsing = rehearse_dialog._Rehearsing()
    monkeypatch.setattr(st, "session_state", {f"camera-{rehearsing.key}": {"answer": answer}})
    rehearsing.answered()
    assert rehearsing.camera == camera


def test_each_state_of_the_camera_has_its_words() -> None:
    assert {*rehearse_dialog._SAID, "works"} == set(rehearse_dialog.State.__args__)
