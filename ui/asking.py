"""Small questions on a page: the one that was asked last, its progress, and why it failed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from tl_core.documents.tasks import Answer, Task, TaskSpec
from tl_core.errors import GraftError
from tl_core.runs.store.folders import TaskFolder
from tl_core.runs.store.store import Workspace
from tl_core.runs.tasks.ask import ask
from ui import live
from ui.actions import check_start
from ui.words import plain

Asked = TypeVar("Asked", bound=Task)
Answered = TypeVar("Answered", bound=Answer)


def latest(workspace: Workspace, kind: type[Asked], wanted: Callable[[Asked], bool]) -> TaskFolder | None:
    """The newest question of that kind whose spec is `wanted`; it is found again after a reload."""
    for question in workspace.tasks():
        spec = _spec(str(question.path), question.created)
        if isinstance(spec, kind) and wanted(spec):
            return question
    return None


@st.cache_data(max_entries=1000, show_spinner=False)
def _spec(path: str, created: float) -> TaskSpec | None:
    del created
    try:
        return TaskFolder(Path(path)).spec()
    except GraftError:
        return None


def put(workspace: Workspace, spec: TaskSpec) -> None:
    """Ask, from a button; why it cannot be asked is shown in a corner of the page."""
    try:
        check_start(workspace)
        ask(workspace, spec)
    except GraftError as error:
        st.toast(plain(error.message, longest=400), icon=":material/error:")


def button(workspace: Workspace, spec: TaskSpec, question: TaskFolder | None, label: str, **more: Any) -> None:
    """A button that asks `spec`; disabled while `question`, the one that was asked last, is being answered."""
    st.button(
        label,
        on_click=put,
        args=(workspace, spec),
        disabled=question is not None and not question.status().final,
        **more,
    )


def answered(question: TaskFolder | None, document: type[Answered]) -> Answered | None:
    """The answer to `question` once it is there; until then its progress, or why it failed, is drawn."""
    return None if working(question) or question is None else question.answer(document)


def working(question: TaskFolder | None) -> bool:
    """Whether `question` is being answered; draws its progress with Cancel, or why it failed."""
    if question is None:
        return False
    status = question.status()
    if not status.final:
        live.watch([question])
        return True
    if status.failure:
        st.error(plain(status.failure.message, longest=1500), icon=":material/error:")
        live.log(question)
    return False
