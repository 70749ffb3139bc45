"""Pictures that a browser sends: which kinds its file chooser offers, the chooser itself, how long and how much the server keeps."""

from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import streamlit as st
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile

from tl_core import settings
from tl_core.data.formats import READ
from tl_core.disk import in_words
from tl_core.errors import GraftError, InUse, LimitReached
from tl_core.runs.store.budgets import used
from tl_core.runs.store.store import Workspace
from ui import actions
from ui.server.upload_ceiling import refusal
from ui.words import duration, plural

PICTURE_TYPES = ["image/*", *(extension for row in READ for extension in row.chooser)]
"""What the browser's file chooser offers; `image/*` makes a phone offer gallery and camera. The content is checked later, when the
data set is read.
"""

Take: TypeAlias = Callable[[list[UploadedFile]], None]
"""Takes files that a browser sent. A `GraftError` refuses them; InUse and LimitReached refuse them for now."""
_KEYS = 8
"""Of a chooser, used one after another: what Streamlit notes about a key stays until the session ends, its files only as long as the
page shows that key."""


def take_pictures(label: str, key: str, take: Take, *, camera: bool = False) -> None:
    """A file chooser called `label` and, behind a switch, the camera; `take` gets the files that come from either (see `chooser`).

    `camera`: whether it is on when the page is first drawn, and stands above the chooser.
    """
    say_refused()
    first, second = st.container(), st.container()
    with second if camera else first:
        chooser(st.file_uploader, label, key, take, type=PICTURE_TYPES, accept_multiple_files=True)
    with first if camera else second:
        if st.toggle("Use the camera", key=f"{key}-camera", value=camera):
            # With another resolution, Streamlit starts the camera again a second after the page's width changed, as a scroll bar does it; a
            # photo that is taken meanwhile is lost.
            how: dict[str, Any] = {"label_visibility": "collapsed", "resolution": "480p"}
            chooser(st.camera_input, "Take a photo", f"{key}-shot", take, **how)


def chooser(
    widget: Callable[..., object], label: str, name: str, take: Take, *, again: str = "Take them now", **how: Any
) -> None:
    """A file chooser or camera (`widget`) whose files `take` gets; they then leave the app's memory, and it begins anew under another key.

    A refusal is said at the head of the page. Where others or too much is at work, the files stay, and the button `again` offers them once
    more. `how`: as the widget.
    """
    key = chooser_key(name)
    widget(label, key=key, on_change=_handed_over, args=(name, take), **how)
    if held(key):
        st.button(again, key=f"{name}-again", icon=":material/refresh:", on_click=_handed_over, args=(name, take))


def _handed_over(name: str, take: Take) -> None:
    files = held(chooser_key(name))
    if not files:
        return
    try:
        take(files)
    except GraftError as error:
        actions.refuse(error.message)
        if isinstance(error, LimitReached | InUse):
            return
    except Exception:
        free(files)
        raise
    # A rerun can break in wherever the session's state is used; in this order it loses no file and takes none twice.
    free(files)
    st.session_state[f"{name}-turn"] += 1


def chooser_key(name: str) -> str:
    """The key of the file chooser or camera `name`: another one after each time that its files were taken."""
    return f"{name}-{st.session_state.setdefault(f'{name}-turn', 0) % _KEYS}"


def held(widget: str) -> list[UploadedFile]:
    """The files of a file chooser or camera that are in the app's memory; the browser may still name some that were freed."""
    value = st.session_state.get(widget)
    return [file for file in (value if isinstance(value, list) else [value]) if isinstance(file, UploadedFile)]


def free(files: Iterable[UploadedFile]) -> None:
    """Remove files from the app's memory, where Streamlit keeps them until the session ends, also under a new key."""
    context = get_script_run_ctx()
    if context is not None and isinstance(context.uploaded_file_mgr, MemoryUploadedFileManager):
        for file in files:
            context.uploaded_file_mgr.remove_file(context.session_id, file.file_id)


def say_refused() -> None:
    """Say why the server refused a file of those that were chosen last, where it did: the chooser itself shows a number only."""
    # Also without a sentence it has its place: a chooser that moved down would begin anew, and lose what it is sending.
    with st.container():
        reason = refused()
        if reason:
            st.warning(reason, icon=":material/hourglass_top:")


def refused() -> str | None:
    """Why a file was refused of those that this session's user chose last; None where none was."""
    context = get_script_run_ctx()
    return refusal(context.session_id) if context else None


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
    # `jobs` is part of the cache's key alone.
    return used(workspace).total
