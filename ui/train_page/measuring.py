"""Times two batches on this machine, so that the time shown beside Start is measured: once, while nothing else runs.

It happens in a job, so the page stays usable, and Start does not wait for it.
"""

from __future__ import annotations

import time

import streamlit as st

from tl_core.documents.questions import MeasureSpec
from tl_core.runs.process.devices import detect_device
from tl_core.runs.process.queue import measuring_lock
from tl_core.runs.store import locks
from tl_core.runs.store.folders import QuestionFolder
from tl_core.runs.store.store import Store
from tl_core.runs.train.estimating import measure_question
from ui import asking
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
    elif time.monotonic() - seen[1] >= PATIENCE and _idle(here):
        asking.put(here.workspace, spec)
        st.rerun()


def stop(here: Here) -> None:
    """Leave the device to a run that starts now."""
    for question in _running(here):
        question.cancel_file.touch()


def _running(here: Here) -> list[QuestionFolder]:
    live = (job for job in here.workspace.live() if isinstance(job, QuestionFolder))
    return [question for question in live if isinstance(question.spec(), MeasureSpec)]


def _idle(here: Here) -> bool:
    """Whether nobody trains on the device or times it, and nothing of this workspace is at work."""
    queue = Store.default().queue
    busy = any(locks.held(lock) for lock in (queue / detect_device() / "lock", measuring_lock(queue)))
    return not busy and not here.workspace.live()
