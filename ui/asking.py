"""Small questions on the page: the one that was asked last, how far it is, what it could not answer. Knows tasks, no page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import streamlit as st

from tl_core.documents.questions import QuestionSpec
from tl_core.errors import GraftError
from tl_core.runs.questions.ask import ask
from tl_core.runs.store.folders import QuestionFolder
from tl_core.runs.store.store import Workspace
from ui import live
from ui.actions import check_crowd
from ui.jobline import cancel_button
from ui.words import plain

Asked = TypeVar("Asked", bound=QuestionSpec)


def latest(workspace: Workspace, kind: type[Asked], wanted: Callable[[Asked], bool]) -> QuestionFolder | None:
    """The newest task of that kind whose question is `wanted`; a reload finds it again."""
    for task in workspace.questions():
        spec = _spec(str(task.path), task.created)
        if isinstance(spec, kind) and wanted(spec):
            return task
    return None


@st.cache_data(max_entries=1000, show_spinner=False)
def _spec(path: str, created: float) -> QuestionSpec | None:
    del created
    try:
        return QuestionFolder(Path(path)).spec()
    except GraftError:
        return None


def put(workspace: Workspace, spec: QuestionSpec) -> None:
    """Ask, from a button; a refusal is said in a corner of the page."""
    try:
        check_crowd(workspace)
        ask(workspace, spec)
    except GraftError as error:
        st.toast(plain(error.message, longest=400), icon=":material/error:")


def progress(task: QuestionFolder) -> None:
    """How far it is, with Cancel; redraws the page when it has ended."""
    st.fragment(_progress, run_every=1)(task)


def _progress(task: QuestionFolder) -> None:
    if not task.exists or task.status().final:
        st.rerun()
    followed = live.follow(task)
    with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"task-{task.id}"):
        st.progress(followed.fraction, text=f"{plain(task.name)}: {followed.sentence}", width="stretch")
        cancel_button(task)


def working(task: QuestionFolder | None) -> bool:
    """Whether `task` is at work; draws how far it is, or why it failed."""
    if task is None:
        return False
    status = task.status()
    if not status.final:
        progress(task)
        return True
    if status.failure:
        st.error(plain(status.failure.message, longest=1500), icon=":material/error:")
        live.log(task)
    return False
