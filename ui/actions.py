"""What a button does: start a job once and open it, rename, delete.

Every refusal is a `GraftError`, shown as its text. What a widget does before the page is drawn (`on_click`) is refused at the head of the
page (`settle`), in another place that has a name (`say_refusal`), or in passing.
"""

from collections.abc import Callable

import streamlit as st

from tl_core.errors import GraftError, InUse
from tl_core.runs.process.queue import require_room
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder, RaceFolder
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store, Workspace
from ui import visitor
from ui.places import Here, Job, maker_of, opening
from ui.words import plain

MOST_AT_WORK = 12
"""Largest number of jobs of one workspace that wait or work, since each is a process; runs that wait in a race are not."""
HEAD = "head"
"""The place at the head of each page where refusals are said."""
_OPENED = "opened"


def refuse(message: str, place: str = HEAD) -> None:
    """Keep `message` until the page is drawn, which says it where `say_refusal` of that place stands."""
    st.session_state[f"refusal-{place}"] = message


def say_refusal(place: str = HEAD) -> None:
    """What was refused there since the page was drawn last, if something was."""
    message = st.session_state.pop(f"refusal-{place}", None)
    if message:
        st.error(plain(message, longest=2000), icon=":material/error:")


def attempt(place: str | None, action: Callable[..., object], *args: object) -> None:
    """For `on_click` and `on_change`: `action`, whose refusal is said in that place; None: in passing, in a corner of the page."""
    try:
        action(*args)
    except GraftError as error:
        if place is None:
            st.toast(plain(error.message, longest=400), icon=":material/error:")
        else:
            refuse(error.message, place)


def begin(workspace: Workspace, what: str, start: Callable[[], Job], *, one_more: bool = True) -> None:
    """Start a job as `once` does, which `settle` then opens; or says why not."""
    attempt(HEAD, lambda: open_next(once(workspace, what, start, one_more=one_more)))


def open_next(job: JobFolder) -> None:
    """Open `job` on its page as soon as this one is drawn."""
    st.session_state[_OPENED] = job


def settle(here: Here) -> None:
    """Open the job that a button has started; else say what was refused, if something was."""
    say_refusal()
    job = st.session_state.pop(_OPENED, None)
    maker = maker_of(job) if job else None
    if maker:
        here.go(maker, **opening(job))


def check_crowd(workspace: Workspace) -> None:
    """Check that one more job may wait or work.

    Raises:
        InUse: `MOST_AT_WORK` jobs of the workspace do, and one user leaves room for others.
        LimitReached: as many jobs of everybody do as may.
    """
    if sum(job.waits_in is None for job in workspace.live()) >= MOST_AT_WORK:
        raise InUse(f"{MOST_AT_WORK} jobs of yours wait or work already. Cancel one, or wait until one has ended.")
    require_room(Store.default().queue)


def check_start(workspace: Workspace) -> None:
    """`check_crowd`, and count a start for the visitor's address. Raises LimitReached, too, where that has had its share."""
    check_crowd(workspace)
    visitor.enter(workspace, job=True)


def once(workspace: Workspace, what: str, start: Callable[[], Job], *, one_more: bool = True) -> Job:
    """Start a job, unless this session already started the same (`what`) and it has not ended: a double click starts one.

    `one_more` False: the job takes the place of one that is at work.

    Raises:
        InUse: too many jobs are at work.
        LimitReached: too many jobs are at work, or were started from the visitor's address.
        GraftError: whatever `start` raises.
    """
    started: dict[str, Job] = st.session_state.setdefault("started", {})
    # No call of Streamlit between this check and the start: a rerun interrupts the script only inside such calls.
    job = started.get(what)
    if job is None or not job.exists or job.status().final:
        if one_more:
            check_start(workspace)
        else:
            visitor.enter(workspace, job=True)
        job = started[what] = start()
    return job


def read_sample(workspace: Workspace, name: str, title: str) -> DatasetFolder:
    """The sample as a data set of this workspace: the one that is here, else one that is read now."""
    for dataset in workspace.datasets():
        spec = dataset.spec()
        if spec.source_kind == "sample" and spec.source == name and dataset.status().state not in _USELESS:
            return dataset
    return once(
        workspace,
        f"sample {name}",
        lambda: jobs.submit_ingest(workspace, source_kind="sample", source=name, name=title),
    )


_USELESS = ("failed", "cancelled", "interrupted")


def menu(job: JobFolder, *, key: str) -> None:
    """Rename or delete, behind three dots."""
    choice = st.menu_button(
        "",
        ["Rename", "Delete"],
        key=f"menu-{key}-{job.id}",
        icon=":material/more_horiz:",
        type="tertiary",
        help="Rename or delete",
    )
    if choice == "Rename":
        _rename(job)
    elif choice == "Delete":
        _delete(job)


@st.dialog("Rename")
def _rename(job: JobFolder) -> None:
    with st.form(f"rename-{job.id}", border=False):
        name = st.text_input("New name", value=job.name, max_chars=80)
        if st.form_submit_button("Rename", type="primary") and name.strip():
            job.rename(name.strip())
            st.rerun()


@st.dialog("Delete")
def _delete(job: JobFolder) -> None:
    st.markdown(f"The {job.what} **{plain(job.name)}** will be gone for good.")
    if isinstance(job, DatasetFolder):
        st.caption(
            "Classifiers that learned from it stay, and still predict; their pictures can no longer be looked at."
        )
    if isinstance(job, RaceFolder):
        st.caption("Its runs stay, with what they learned; those that never began go with it.")
    _confirm("Delete it", job.delete)


@st.dialog("Delete everything here")
def delete_everything(workspace: Workspace) -> None:
    """Ask, then remove the whole workspace."""
    datasets, runs = len(workspace.datasets()), len(workspace.runs())
    st.markdown(
        f"{datasets} data sets and {runs} runs of this workspace will be gone for good. Nobody can bring them back."
    )
    _confirm("Delete everything", workspace.delete)


def _confirm(label: str, action: Callable[[], None]) -> None:
    """Two buttons: one does `action` and draws the page anew; a refusal is said where the question was asked."""
    with st.container(horizontal=True):
        wanted = st.button(label, type="primary", icon=":material/delete_forever:")
        if st.button("Keep it"):
            st.rerun()
    if wanted:
        try:
            action()
        except GraftError as error:
            st.error(plain(error.message, longest=600))
            return
        st.rerun()
