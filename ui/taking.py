"""Pictures that a browser sends: which kinds its file chooser offers, the chooser itself, how long and how much the server keeps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx

from tl_core import settings
from tl_core.data.formats import READ
from tl_core.disk import in_words
from tl_core.errors import LimitReached
from tl_core.runs.store.store import Workspace
from tl_core.runs.store.usage import used
from ui.server.upload_ceiling import refusal
from ui.words import duration, plural

PICTURE_TYPES = ["image/*", *(extension for row in READ for extension in row.chooser)]
"""What the browser's file chooser offers; `image/*` makes a phone offer gallery and camera. The content is checked later, when the
data set is read.
"""


def take_pictures(label: str, key: str, take: Callable[[list[Any]], None]) -> None:
    """A file chooser called `label` and, behind a switch, the camera; `take` gets the files that come from either.

    Both then begin anew under another key, so that no upload stays in memory. Files stay where `take` raises LimitReached, and a
    button offers them again.
    """
    say_refused()
    turn = f"{key}-turn"
    chooser, shot = (f"{name}-{st.session_state.setdefault(turn, 0)}" for name in (key, f"{key}-shot"))

    def taken(widget: str) -> None:
        given = st.session_state[widget]
        files = given if isinstance(given, list) else [given] if given else []
        if files:
            st.session_state[turn] += 1
            try:
                take(files)
            except LimitReached:
                st.session_state[turn] -= 1

    st.file_uploader(
        label, type=PICTURE_TYPES, accept_multiple_files=True, key=chooser, on_change=taken, args=(chooser,)
    )
    if st.session_state.get(chooser):
        st.button("Take them now", key=f"{key}-again", icon=":material/refresh:", on_click=taken, args=(chooser,))
    if st.toggle("Use the camera", key=f"{key}-camera"):
        st.camera_input("Take a photo", key=shot, on_change=taken, args=(shot,), label_visibility="collapsed")


def say_refused() -> None:
    """Say why the server refused this session's last upload, where it did: the chooser itself shows a number only."""
    context = get_script_run_ctx()
    reason = refusal(context.session_id) if context else None
    if reason:
        st.warning(reason, icon=":material/hourglass_top:")


def keeping() -> str:
    """Sentences that say how long pictures stay on the server."""
    days = settings.current().keep_days
    stay = (
        f"{duration(days * 86_400)} after you were last here"
        if 0 < days < 1
        else f"{plural(round(days), 'day')} after you were last here"
    )
    until = f"They are removed {stay}, or when you delete them." if days else "They stay until you delete them."
    return f"Pictures are kept on this server only; GPS and camera data are taken out as they are read. {until}"


def room(workspace: Workspace) -> str:
    """A sentence that says how much of its budget the workspace takes; empty where it has none."""
    budget = settings.current().workspace_bytes
    if not budget or not workspace.exists:
        return ""
    # Another data set or run changes the figure at once, the growth of one at work some seconds later.
    jobs = tuple(job.id for job in (*workspace.datasets(), *workspace.runs()))
    return f"This workspace takes {in_words(_taken(workspace, jobs))} of the {in_words(budget)} that it may have."


@st.cache_data(ttl=10, max_entries=256, show_spinner=False, hash_funcs={Workspace: lambda one: one.token})
def _taken(workspace: Workspace, jobs: tuple[str, ...]) -> int:
    del jobs  # the cache's key
    return used(workspace).total
