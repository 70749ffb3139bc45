"""Rehearse, a dialog on Home: asks for the camera, then goes through the guided tour on this server, and says what is missing.

The camera is that of the visitor's browser: a component asks for it, whose script, markup and styles lie beside this file. Its pictures stay
in the browser. The rehearsal works in the script's own run, which draws its progress. Closing the dialog or leaving the page ends that run, and with it
the rehearsal's job.
"""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import streamlit as st
from pydantic import Field, ValidationError

from tl_core.documents.base import Record
from tl_core.documents.events import Event
from tl_core.errors import GraftError
from tl_core.runs.rehearsal import Rehearsal, rehearse
from tl_core.runs.store.store import Store, Workspace, new_id
from ui import actions, live
from ui.listing import scrolled
from ui.server_paths import shortened_log
from ui.words import duration, plain

_KEY = "rehearsing"
_HTML, _CSS, _JS = (Path(__file__).with_name(f"camera.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
_ASK_CAMERA = st.components.v2.component("graft_camera", html=_HTML, css=_CSS, js=_JS)

State = Literal["works", "refused", "framed", "none", "busy", "insecure", "passed_over"]


class Camera(Record):
    """What came of asking for the camera."""

    state: State
    """`framed`: the page stands in the frame of another one that gives it no camera. `passed_over`: nobody answered the browser."""
    label: str = Field("", max_length=500)
    """Its name, as the browser gives it."""
    width: int = Field(0, ge=0)
    height: int = Field(0, ge=0)
    """Pixels of its pictures."""


_SAID: dict[State, str] = {
    "refused": "**The browser may not use the camera.** Press the sign beside the page's address, allow the camera for this page, and ask "
    "again. Where no question appears, the system's settings keep the camera from the browser.",
    "framed": "**This page stands in the frame of another one, which gives it no camera.** Open the app by its own address; that of a "
    "Space ends in hf.space.",
    "none": "**The browser finds no camera.** Plug one in and ask again, or do without it: pictures can be brought as files, too.",
    "busy": "**The camera gives no picture.** Another program or page may be using it: close that, and ask again.",
    "insecure": "**Browsers give a page from another machine a camera over https only.** Open the app as localhost on the machine that "
    "serves it, or behind https.",
    "passed_over": "**The camera was not asked for.** Predict asks for it as soon as somebody uses it.",
}


@dataclass
class _Rehearsing:
    """The dialog, as long as it is open."""

    camera: Camera | None = None
    report: Rehearsal | None = None
    problem: str | None = None
    """Why there is no rehearsal, a sentence."""
    key: str = field(default_factory=new_id)
    """Of the component that asks for the camera: another one each time."""

    def answered(self) -> None:
        """Keep what the browser said of its camera, unless that is nothing that the component says."""
        with suppress(ValidationError):
            self.camera = Camera.model_validate(st.session_state[f"camera-{self.key}"]["answer"])

    def pass_over(self) -> None:
        self.camera = Camera(state="passed_over")

    def ask_again(self) -> None:
        self.camera, self.key = None, new_id()

    def begin_again(self) -> None:
        self.report = self.problem = None


def offer() -> None:
    """The button that opens the dialog, with what it is for."""
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.button("Rehearse", key="rehearse", type="tertiary", icon=":material/checklist:", on_click=_open)
        st.caption(
            "Before you show it to people: goes through “Show me” twice on this server, and asks for the camera.",
            width="content",
        )


def show(workspace: Workspace) -> None:
    """The dialog, where it is open. It comes last on the page, since a rehearsal holds up what follows."""
    rehearsing: _Rehearsing | None = st.session_state.get(_KEY)
    if rehearsing is not None:
        st.dialog(
            "Rehearse", width="medium", icon=":material/checklist:", on_dismiss=lambda: st.session_state.pop(_KEY, None)
        )(_body)(workspace, rehearsing)


def _open() -> None:
    st.session_state[_KEY] = _Rehearsing()


def _body(workspace: Workspace, rehearsing: _Rehearsing) -> None:
    st.markdown(
        "So that nothing fails in front of people: the sample is read, a classifier trained and test pictures answered, twice. The "
        "first time prepares; the second is what people will see. Closing this stops it, and nothing of it is kept among your runs."
    )
    if rehearsing.camera is None:
        _ASK_CAMERA(key=f"camera-{rehearsing.key}", on_answer_change=rehearsing.answered)
        st.button("Go on without the camera", on_click=rehearsing.pass_over, key="rehearse-no-camera")
        return
    _say(rehearsing.camera)
    if rehearsing.report is None and rehearsing.problem is None:
        _work(workspace, rehearsing)
    if rehearsing.problem:
        st.error(plain(rehearsing.problem, longest=600), icon=":material/error:")
    if rehearsing.report:
        _tell(rehearsing.report)
    with st.container(horizontal=True):
        st.button("Rehearse again", icon=":material/replay:", on_click=rehearsing.begin_again, key="rehearse-again")
        if rehearsing.camera.state != "works":
            st.button("Ask for the camera again", icon=":material/photo_camera:", on_click=rehearsing.ask_again)


def _say(camera: Camera) -> None:
    """What was found, and what to do."""
    if camera.state == "works":
        named = f": {plain(camera.label, longest=80)}" if camera.label else ""
        st.markdown(
            f":green[:material/photo_camera:] **The camera works**{named}, {camera.width:,} x {camera.height:,} pixels."
        )
    else:
        st.markdown(f":orange[:material/no_photography:] {_SAID[camera.state]}")


def _work(workspace: Workspace, rehearsing: _Rehearsing) -> None:
    place = st.empty()
    bar, followed = place.progress(0.0, text="Starting"), live.Followed()

    def draw(event: Event) -> None:
        followed.take([event])
        bar.progress(followed.fraction, text=followed.sentence)

    def look() -> None:
        # Whoever closes the dialog or leaves breaks in where the session's state is used, also while a job says nothing.
        st.session_state.get(_KEY)

    try:
        actions.check_start(workspace)
        rehearsing.report = rehearse(Store.default(), on_event=draw, meanwhile=look)
    except GraftError as error:
        rehearsing.problem = error.message
    place.empty()


def _tell(report: Rehearsal) -> None:
    walk = report.walk_seconds
    if report.ready and walk is not None:
        st.success(
            f"**Ready.** People will wait {duration(walk)} in all, on {plain(report.machine)}.",
            icon=":material/check_circle:",
        )
    for problem in report.problems:
        st.warning(plain(problem, longest=600), icon=":material/warning:")
    rows = [f"| {' | '.join(row)} |" for row in report.table()]
    st.markdown("\n".join([f"| {plain(report.title)} | first time | next time |", "| --- | --- | --- |", *rows]))
    for step in report.steps:
        if step.log:
            with st.expander("Show log", icon=":material/article:"):
                scrolled(shortened_log(step.log), height=260)
    if report.missing:
        st.markdown("**What is missing**, though the tour does not need it:")
        st.markdown("\n".join(f"- {plain(sentence, longest=600)}" for sentence in report.missing))
