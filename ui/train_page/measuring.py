"""Times two batches on this machine, so that the time shown beside Start is measured: once, while nothing else runs.

It happens in a job, so the page stays usable, and Start ends it.
"""

from __future__ import annotations

import time
from contextlib import suppress

import streamlit as st

from tl_core.documents.tasks import MeasureSpec
from tl_core.errors import GraftError
from tl_core.runs.process.queue import crowd
from tl_core.runs.store.folders import TaskFolder
from tl_core.runs.store.store import Store
from tl_core.runs.tasks.ask import ask
from tl_core.runs.train.estimating import measure_question
from ui import asking
from ui.actions import check_crowd
from ui.places import Here
from ui.train_page.proposal import Proposal

PATIENCE = 1.5
"""Seconds that a choice stands before it is timed, so that nothing is timed for somebody who only looks through the strategies."""


def keep_trying(here: Here, proposal: Proposal) -> None:
    """Time `proposal` once it has stood for a moment and the device is idle; redraws the page when that is done."""
    spec = measure_question(proposal.spec, len(proposal.manifest.classes))
    question = asking.latest(here.workspace, MeasureSpec, lambda asked: asked == spec)
    if question is None or not question.status().final:
        st.fragment(_try, run_every=PATIENCE)(here, spec, question is not None)


def _try(here: Here, spec: MeasureSpec, began: bool) -> None:
    if _running(here):
        st.caption(":material/speed: The time is a first guess; two batches are being timed on this machine.")
        return
    if began:
        st.rerun()
    seen: tuple[MeasureSpec | None, float] = st.session_state.get("to-measure", (None, 0.0))
    if seen[0] != spec:
        st.session_state["to-measure"] = (spec, time.monotonic())
    elif time.monotonic() - seen[1] >= PATIENCE and _idle(here, spec):
        # Nobody pressed anything, so nobody reads why it cannot be; and it does not count as a start of the visitor's.
        with suppress(GraftError):
            check_crowd(here.workspace)
            ask(here.workspace, spec)
        st.rerun()


def stop(here: Here) -> None:
    """Leave the device to a run that starts now."""
    for question in _running(here):
        question.cancel_file.touch()


def _running(here: Here) -> list[TaskFolder]:
    live = (job for job in here.workspace.live() if isinstance(job, TaskFolder))
    return [question for question in live if isinstance(question.spec(), MeasureSpec)]


def _idle(here: Here, spec: MeasureSpec) -> bool:
    """Whether nobody has the device or waits for it, and nothing of this workspace is at work."""
    return not crowd(Store.default().queue, spec.device) and not here.workspace.live()
