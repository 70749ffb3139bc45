"""Rehearse, a dialog on Home: asks for the camera, then goes through the guided tour on this server, and says what is missing.

The rehearsal works in the script's own run, which draws its progress. Closing the dialog or leaving the page ends that run, and with it
the rehearsal's job.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import streamlit as st

from tl_core.documents.events import Event
from tl_core.documents.rehearsed import Rehearsal, RehearsedStep
from tl_core.errors import GraftError
from tl_core.runs.rehearsal import rehearse
from tl_core.runs.store.store import Store, Workspace, new_id
from ui import actions, live
from ui.listing import scrolled
from ui.rehearsing import camera
from ui.rehearsing.camera import Camera
from ui.server_paths import shortened_log
from ui.words import duration, plain

_KEY = "rehearsing"


@dataclass
class _Rehearsing:
    """The dialog, as long as it is open."""

    camera: Camera | None = None
    found: Rehearsal | None = None
    problem: str | None = None
    """Why there is no rehearsal, a sentence."""
    key: str = field(default_factory=new_id)
    """Of the component that asks for the camera: another one each time."""

    def met(self, camera: Camera) -> None:
        self.camera = camera

    def ask_again(self) -> None:
        self.camera, self.key = None, new_id()

    def begin_again(self) -> None:
        self.found = self.problem = None


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
        st.dialog("Rehearse", width="medium", icon=":material/checklist:", on_dismiss=_close)(_body)(
            workspace, rehearsing
        )


def _open() -> None:
    st.session_state[_KEY] = _Rehearsing()


def _close() -> None:
    st.session_state.pop(_KEY, None)


def _body(workspace: Workspace, rehearsing: _Rehearsing) -> None:
    st.markdown(
        "So that nothing fails in front of people: the sample is read, a classifier trained and test pictures answered, twice. The "
        "first time prepares; the second is what people will see. Closing this stops it, and nothing of it is kept among your runs."
    )
    if rehearsing.camera is None:
        camera.ask(f"camera-{rehearsing.key}", rehearsing.met)
        skipped = Camera(state="passed_over")
        st.button("Go on without the camera", on_click=rehearsing.met, args=(skipped,), key="rehearse-no-camera")
        return
    camera.say(rehearsing.camera)
    if rehearsing.found is None and rehearsing.problem is None:
        _work(workspace, rehearsing)
    if rehearsing.problem:
        st.error(plain(rehearsing.problem, longest=600), icon=":material/error:")
    if rehearsing.found:
        _tell(rehearsing.found)
    with st.container(horizontal=True):
        st.button("Rehearse again", icon=":material/replay:", on_click=rehearsing.begin_again, key="rehearse-again")
        if rehearsing.camera.state != "works":
            st.button("Ask for the camera again", icon=":material/photo_camera:", on_click=rehearsing.ask_again)


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
        rehearsing.found = rehearse(Store.default(), on_event=draw, meanwhile=look)
    except GraftError as error:
        rehearsing.problem = error.message
    place.empty()


def _tell(found: Rehearsal) -> None:
    walk = found.walk_seconds
    if found.ready and walk is not None:
        st.success(
            f"**Ready.** People will wait {duration(walk)} in all, on {plain(found.machine)}.",
            icon=":material/check_circle:",
        )
    for problem in found.problems:
        st.warning(plain(problem, longest=600), icon=":material/warning:")
    rows = [f"| {step.title} | {_time(step.first)} | {_time(step.again) or _not_done(step)} |" for step in found.steps]
    st.markdown("\n".join([f"| {plain(found.title)} | first time | next time |", "| --- | --- | --- |", *rows]))
    for step in found.steps:
        if step.log:
            with st.expander("Show log", icon=":material/article:"):
                scrolled(shortened_log(step.log), height=260)
    if found.missing:
        st.markdown("**What is missing**, though the tour does not need it:")
        st.markdown("\n".join(f"- {plain(sentence, longest=600)}" for sentence in found.missing))


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds:.1f} s"


def _not_done(step: RehearsedStep) -> str:
    return "failed" if step.problem else "not tried"
