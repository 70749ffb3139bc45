"""What every page does first: its set-up, whose workspace it is, which data set and run are open, the line of steps.

The token lives in the page's URL. It is checked on every run and written back, because a page can be reached without it.
Knows the store and Streamlit; knows no model.
"""

from __future__ import annotations

import gc
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

import streamlit as st

from tl_core import settings
from tl_core.errors import GraftError, NotFound
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Store, Workspace, new_token
from ui import jobline, tour
from ui.places import HOME, STEPS, Here
from ui.words import plain

BUG = (
    "The app itself made a mistake here. What was read and trained is safe. Reload the page; if it comes back, the "
    "server's own log says what it was."
)
_LOG = logging.getLogger(__name__)
ICON = Path(__file__).with_name("icon.png")


@contextmanager
def page(title: str, sentence: str, *, step: str | None = None) -> Iterator[Here]:
    """One page: its frame, title and sentence; the body runs inside. A `GraftError` in the body is shown as its text.

    Any other error is a bug: its traceback goes to the server's log, and the user reads that it was one.
    """
    st.set_page_config(page_title=f"{title} · Graft" if step else "Graft", page_icon=str(ICON), layout="wide")
    with st.container(horizontal_alignment="center"), st.container(width=1120):
        try:
            here = _open(step)
            _steps(here, step)
            st.title(title)
            st.markdown(sentence)
            tour.banner(here, step)
            jobline.show(here.workspace, besides=_shown_in_full(here, step), tasks=step not in ("Train", "Ideas"))
            yield here
            _settle(step)
        except GraftError as error:
            st.error(plain(error.message, longest=2000), icon=":material/error:")
        except Exception:  # noqa: BLE001 - the last place where a bug can become a sentence
            _LOG.exception("page %s", title)
            st.error(BUG, icon=":material/bug_report:")


@cache
def _settle(step: str | None) -> None:
    """Take what this page imported out of the garbage collector's rounds; once per page and process.

    Modules stay until the end, and walking through all of them held up one rerun in about fifteen by 40 to 70 ms.
    """
    del step  # the cache's key: a page's first drawing imports what only it needs
    gc.collect()
    gc.freeze()


def store() -> Store:
    return Store.default()


def _open(step: str | None) -> Here:
    _sweep_hourly()
    workspace = store().workspace(_token())
    workspace.touch()
    named = st.query_params.get("dataset")
    dataset, run = _choose_dataset(workspace, named), _choose_run(workspace, st.query_params.get("run"))
    if run is None:
        finished = [run for run in workspace.runs() if run.status().state == "succeeded"]
        of_these = [run for run in finished if not named or (dataset and run.spec().dataset == dataset.id)]
        run = next(iter(of_these or (finished if step in ("Evaluate", "Predict") else [])), None)
        named = named if run in of_these else None
    if run is not None and named is None:
        dataset = _dataset_of(workspace, run) or dataset
    here = Here(workspace, dataset, run)
    # Also where nothing changed here: a second click in the middle of a page switch leaves the browser with the old address.
    st.query_params.from_dict(here.query())
    st.session_state["place"] = here.query()
    if settings.on_space():
        _tell_parent(here.query())
    return here


@st.cache_resource(max_entries=1, ttl=3600, show_spinner=False)
def _sweep_hourly() -> bool:
    days = settings.keep_days()
    if days:
        store().sweep(days)
    return True


def _token() -> str:
    """The URL's token, else the session's, else a new one. Raises NotFound for one that is malformed."""
    place = st.session_state.setdefault("place", {})
    asked = st.query_params.get("workspace")
    if asked is None:
        asked = place.get("workspace") or new_token()
        for name in ("dataset", "run", "tour", "draft"):
            if name in place and name not in st.query_params:
                st.query_params[name] = place[name]
    elif place and asked != place.get("workspace"):
        # Somebody else's link was opened in this tab: nothing of the old workspace may show through.
        st.session_state.clear()
    try:
        store().workspace(asked)
    except NotFound:
        st.error(
            "This link does not lead to a workspace: its code should be 32 letters and digits. Check that it was copied whole."
        )
        if st.button("Open a new workspace", type="primary"):
            st.query_params.clear()
            st.session_state.clear()
            st.rerun()
        st.stop()
    return asked


def _choose_dataset(workspace: Workspace, wanted: str | None) -> DatasetFolder | None:
    """The data set that the URL names, else the newest."""
    if wanted:
        try:
            return workspace.dataset(wanted)
        except NotFound:
            st.toast("That data set is no longer here.", icon=":material/info:")
    return next(iter(workspace.datasets()), None)


def _choose_run(workspace: Workspace, wanted: str | None) -> RunFolder | None:
    """The run that the URL names, in whatever state."""
    if wanted:
        try:
            return workspace.run(wanted)
        except NotFound:
            st.toast("That run is no longer here.", icon=":material/info:")
    return None


def _dataset_of(workspace: Workspace, run: RunFolder) -> DatasetFolder | None:
    try:
        return workspace.dataset(run.spec().dataset)
    except NotFound:
        return None


def _shown_in_full(here: Here, step: str | None) -> str | None:
    """The job whose live view fills this page, so that the job line need not repeat it."""
    if step == "Data" and here.dataset:
        return here.dataset.id
    return here.run.id if step == "Train" and here.run else None


def _steps(here: Here, step: str | None) -> None:
    """The line Data, Train, Evaluate, Predict, with what is open named under it."""
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key="steps"):
        st.page_link(HOME, label="Graft", icon=":material/potted_plant:", query_params=here.query())
        for number, (name, target, icon) in enumerate(STEPS):
            if number:
                st.markdown(":gray[:material/chevron_right:]", width="content")
            st.page_link(target, label=f"**{name}**" if name == step else name, icon=icon, query_params=here.query())
    named = []
    if here.dataset:
        named.append(f":material/photo_library: Data set **{plain(here.dataset.name)}**")
    if here.run:
        named.append(f":material/model_training: Run **{plain(here.run.name)}**")
    if named and step:
        st.caption(" &nbsp; ".join(named))


def _tell_parent(query: dict[str, str]) -> None:
    """Inside a Space's frame the address bar belongs to the hub, which takes the query string as a message."""
    # Inside a script element only this letter could end it.
    text = json.dumps(urlencode(query)).replace("<", "\\u003c")
    st.html(
        f'<script>window.parent.postMessage({{queryString: {text}, hash: ""}}, "https://huggingface.co");</script>',
        unsafe_allow_javascript=True,
    )
