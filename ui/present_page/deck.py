"""The deck: slides in one component that keeps its slide by itself, so that a talk goes on without the server.

Its script, markup and styles lie beside this file. Nothing that a user typed is part of them: slides are given to it as data.
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import streamlit as st

from ui.present_page.slides import Slide

_HTML, _CSS, _JS = (Path(__file__).with_name(f"deck.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
_DECK = st.components.v2.component("graft_deck", html=_HTML, css=_CSS, js=_JS)


def show(slides: Sequence[Slide], *, name: str, key: str) -> None:
    """A button that starts `slides`, and their titles, each of which starts at its slide. `name`: of the run, at the foot of each slide."""
    _DECK(data={"name": name, "slides": [asdict(slide) for slide in slides]}, key=key)
