"""The camera of the visitor's browser: asks for it in a component, and says what was found and what to do.

The component's script, markup and styles lie beside this file. Its pictures stay in the browser.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import streamlit as st
from pydantic import Field, ValidationError

from tl_core.documents.base import Record
from ui.words import plain

_HTML, _CSS, _JS = (Path(__file__).with_name(f"camera.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
_CAMERA = st.components.v2.component("graft_camera", html=_HTML, css=_CSS, js=_JS)

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


def ask(key: str, answered: Callable[[Camera], None]) -> None:
    """Ask for the camera, once under this `key`; `answered` is called with what came of it."""

    def take() -> None:
        found = heard(st.session_state[key]["answer"])
        if found:
            answered(found)

    _CAMERA(key=key, on_answer_change=take)


def heard(answer: object) -> Camera | None:
    """What the browser answered; None for what no camera of ours says."""
    try:
        return Camera.model_validate(answer)
    except ValidationError:
        return None


def say(camera: Camera) -> None:
    """What was found, and what to do."""
    if camera.state == "works":
        named = f": {plain(camera.label, longest=80)}" if camera.label else ""
        st.markdown(
            f":green[:material/photo_camera:] **The camera works**{named}, {camera.width:,} x {camera.height:,} pixels."
        )
    else:
        st.markdown(f":orange[:material/no_photography:] {_SAID[camera.state]}")
