"""The line that shows a running job on every page: what it does, a bar, how long, Cancel. Knows no page."""

from __future__ import annotations

import streamlit as st

from tl_core.documents.questions import RankSpec, RateSpec
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import QuestionFolder
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Workspace
from ui.live import follow
from ui.words import plain


def active(workspace: Workspace, *, tasks: bool = True) -> list[JobFolder]:
    """Jobs of this workspace that are queued or run, the newest first; of tasks those that take long, or none."""
    return [job for job in workspace.live() if not isinstance(job, QuestionFolder) or (tasks and _long(job))]


def _long(task: QuestionFolder) -> bool:
    return isinstance(task.spec(), RankSpec | RateSpec)


def show(workspace: Workspace, *, besides: str | None, tasks: bool = True) -> None:
    """The line for each active job but the one called `besides`; draws nothing where there is none.

    `tasks` False: the page shows them itself, where they were asked for.
    """
    busy = [job for job in active(workspace, tasks=tasks) if job.id != besides]
    if busy:
        st.fragment(_lines, run_every=1)(busy[:3])


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
