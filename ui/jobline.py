"""The line that shows a running job on every page: what it does, a bar, how long, Cancel."""

from __future__ import annotations

import streamlit as st

from tl_core.runs.start import jobs
from tl_core.runs.store.folders import QuestionFolder
from tl_core.runs.store.job_folder import JobFolder
from ui.live import follow
from ui.places import Here
from ui.words import plain


def show(here: Here) -> None:
    """The line for each job at work that the page does not show in full; draws nothing where there is none."""
    busy = [job for job in here.workspace.live() if _takes_long(job) and not here.shows(job)]
    if busy:
        watch(busy[:3])


def _takes_long(job: JobFolder) -> bool:
    """Whether a user waits for it: data sets, runs, and of the questions those that wait for a device."""
    return not isinstance(job, QuestionFolder) or job.spec().handling.waits_for is not None


def watch(busy: list[JobFolder]) -> None:
    """A line for each of `busy`: what it does, a bar, how long, Cancel; redraws the page when one has ended."""
    st.fragment(_lines, run_every=1)(busy)


def _lines(busy: list[JobFolder]) -> None:
    if any(not job.exists or job.status().final for job in busy):
        st.rerun()
    for job in busy:
        followed = follow(job)
        with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"job-{job.id}"):
            st.progress(followed.fraction, text=f"{plain(job.name)}: {followed.sentence}", width="stretch")
            cancel_button(job)


def cancel_button(job: JobFolder) -> None:
    """Cancel; it frees the device within two seconds."""
    st.button(
        "Cancel",
        key=f"cancel-{job.id}",
        icon=":material/close:",
        on_click=jobs.cancel,
        args=(job,),
        disabled=job.status().state == "cancelling",
    )
