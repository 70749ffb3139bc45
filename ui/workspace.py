"""What every page does first, from its row in `ui.places`: set-up, whose workspace it is, what is open, the line of steps.

The token lives in the page's URL. It is checked on every run and written back, because a page can be reached without it.
"""

import gc
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import urlencode

import streamlit as st

from tl_core import settings
from tl_core.errors import GraftError, NotFound, SpecError
from tl_core.runs.store.folders import DatasetFolder, RaceFolder, RunFolder
from tl_core.runs.store.store import Store, new_token
from tl_core.runs.store.sweep import sweep_hourly
from ui import actions, live, tour
from ui.places import DATA, HOME, PLACES, TRAIN, Here, Job, Place, opening, pictures_of, succeeded, to_open
from ui.server import asgi
from ui.server.login import LOGOUT
from ui.words import plain

BUG = (
    "The app itself made a mistake here. What was read and trained is safe. Reload the page; if it comes back, the "
    "server's own log says what it was."
)
_LOG = logging.getLogger(__name__)
_LOGOUT = f'''<form method="post" action="{LOGOUT[1:]}"><button style="background: none; border: none; padding: 0; color: inherit;
font: inherit; text-decoration: underline; cursor: pointer">Log out</button></form>'''
ICON = Path(__file__).with_name("icon.png")


@contextmanager
def page(place: Place) -> Iterator[Here]:
    """One page: its frame, title and sentence; the body runs inside, once there is what the page needs.

    A `GraftError` in the body is shown as its text. Any other error is a bug: its traceback goes to the server's log, and the
    user reads that it was one.
    """
    title = "Graft" if place is HOME else f"{place.name} · Graft"
    st.set_page_config(page_title=title, page_icon=str(ICON), layout="wide")
    with st.container(horizontal_alignment="center"), st.container(width=1120):
        try:
            here = _open(place)
            _steps(here)
            st.title(place.name)
            st.markdown(place.sentence)
            actions.settle(here)
            tour.banner(here)
            live.others(here)
            # A job that the page shows in full is shown also where what the page needs is gone.
            if here.job(place) is None and missing(here):
                st.stop()
            yield here
            _settle(place.name)
        except GraftError as error:
            st.error(plain(error.message, longest=2000), icon=":material/error:")
            # Where this was before the body, there is nothing to run it with.
            st.stop()
        except Exception:  # noqa: BLE001 - the last place where a bug can become a sentence
            _LOG.exception("page %s", place.name)
            st.error(BUG, icon=":material/bug_report:")
            st.stop()


@cache
def _settle(name: str) -> None:
    """Take what this page imported out of the garbage collector's rounds; once per page and process.

    Modules stay until the end, and walking through all of them held up one rerun in about fifteen by 40 to 70 ms.
    """
    # `name` is the cache's key: a page's first drawing imports what only it needs.
    gc.collect()
    gc.freeze()


def _open(place: Place) -> Here:
    if asgi.asks_for_login() and not asgi.guarded():
        raise SpecError(
            "This app asks for a login, but not when it is started in this way. Start it with python -m tl_core app."
        )
    sweep_hourly(Store.default(), settings.current().keep_days)
    workspace = Store.default().workspace(_token())
    workspace.touch()
    named, race = _named(workspace.run, "run", RunFolder.what), _named(workspace.race, "race", RaceFolder.what)
    dataset, run = to_open(
        [] if named else succeeded(workspace.runs()),
        next(iter(workspace.datasets()), None),
        lambda job: pictures_of(job, workspace),
        any_run=place.needs is RunFolder,
        dataset=_named(workspace.dataset, "dataset", DatasetFolder.what),
        run=named,
        race=race,
    )
    here = Here(workspace, dataset, run, place, race)
    # Written even if it did not change: after a second click during a page switch the browser still shows the old address.
    st.query_params.from_dict(here.query())
    st.session_state["address"] = here.query()
    if settings.on_space():
        _tell_parent(here.query())
    return here


def _token() -> str:
    """The URL's token, else the session's, else a new one. Raises NotFound for one that is malformed."""
    address = st.session_state.setdefault("address", {})
    asked = st.query_params.get("workspace")
    if asked is None:
        asked = address.get("workspace") or new_token()
        for name in ("dataset", "run", "race", "tour", "draft", "compare"):
            if name in address and name not in st.query_params:
                st.query_params[name] = address[name]
    elif address and asked != address.get("workspace"):
        # Somebody else's link was opened in this tab: nothing of the old workspace may show through.
        st.session_state.clear()
    try:
        Store.default().workspace(asked)
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


def _named(find: Callable[[str], Job], parameter: str, what: str) -> Job | None:
    """The data set, run or race that the URL names, in whatever state; None, and a word about it, where it is gone."""
    wanted = st.query_params.get(parameter)
    try:
        return find(wanted) if wanted else None
    except NotFound:
        st.toast(f"That {what} is no longer here.", icon=":material/info:")
        return None


def missing(here: Here) -> bool:
    """Whether what the page needs is not there; then it says so, and offers the page where it is made."""
    line, maker = list(PLACES.values()), here.place
    while maker.needs and not here.has(maker.needs):
        maker = next(place for place in line[: line.index(maker)] if maker.needs in place.shows)
    if maker is here.place:
        return False
    job = here.at_work(maker)
    with st.container(border=True):
        st.markdown(maker.meanwhile if job else here.place.without)
        if st.button("See how far it is" if job else maker.offer, type="primary", icon=maker.icon, key="missing"):
            # An open run that came to nothing is closed: its data set is opened alone.
            alone = here.dataset if maker.needs is DatasetFolder else None
            here.go(maker, **(opening(job) if job else opening(alone) if alone else {}))
    return True


def _steps(here: Here) -> None:
    """The line Data, Train, Evaluate, Predict, the pages beside it, and under it the names of what is open."""
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall", key="steps"):
        steps = [place for place in PLACES.values() if place.step]
        for place in PLACES.values():
            if place in steps[1:]:
                st.markdown(":gray[:material/chevron_right:]", width="content")
            here.link(place, f"**{place.name}**" if place is here.place else None)
        if asgi.asks_for_login():
            st.space("stretch")
            st.html(_LOGOUT, width="content")
    opened = ((DATA.icon, "Data set", here.dataset), (TRAIN.icon, "Run", here.run))
    named = [f"{icon} {what} **{plain(job.name)}**" for icon, what, job in opened if job]
    if named and here.place is not HOME:
        st.caption(" &nbsp; ".join(named))


def _tell_parent(query: dict[str, str]) -> None:
    """Inside a Space's frame the address bar belongs to the hub, which takes the query string as a message."""
    # Inside a script element only this letter could end it.
    text = json.dumps(urlencode(query)).replace("<", "\\u003c")
    st.html(
        f'<script>window.parent.postMessage({{queryString: {text}, hash: ""}}, "https://huggingface.co");</script>',
        unsafe_allow_javascript=True,
    )
