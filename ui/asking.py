"""Tasks on a page: a button that asks one, its progress, why it failed, and the folder with its answer."""

from collections.abc import Callable
from typing import Any, TypeVar

import streamlit as st

from tl_core.documents.tasks import Task, TaskSpec
from tl_core.errors import GraftError
from tl_core.runs.store.folders import TaskFolder
from tl_core.runs.store.store import Workspace
from tl_core.runs.tasks.ask import ask, folder_of
from ui import live
from ui.actions import attempt, check_start
from ui.places import task_key

Asked = TypeVar("Asked", bound=Task)


def panel(
    workspace: Workspace,
    spec: TaskSpec,
    label: str,
    *,
    intro: str = "",
    task: TaskFolder | None = None,
    again: bool = False,
    prepare: Callable[[], None] = lambda: None,
    **button: Any,
) -> TaskFolder | None:
    """Draw a button called `label` that asks `spec`, then its progress, or why it failed. The task's folder once the answer is there.

    `intro` is the text above the button. `task` is the folder where the answer may lie already, if that is not the one of `spec`. `again`: the
    button stays beside an answer. `prepare` is called when the button is pressed, before the task is asked. `button`: as `st.button`.
    """
    task = task or folder_of(workspace, spec)
    state = task.status().state if task.exists else "cancelled"
    at_work = watched(task)
    if again or not (at_work or state == "succeeded"):
        if intro:
            st.markdown(intro)
        st.button(label, on_click=put, args=(workspace, spec, prepare), disabled=at_work, **button)
    return task if state == "succeeded" else None


def watched(task: TaskFolder) -> bool:
    """Whether `task` is at work; draws its progress with Cancel, or why it failed."""
    if not task.exists:
        return False
    status = task.status()
    if not status.final:
        live.watch([task])
    elif status.failure:
        live.failure(status)
        live.log(task)
    return not status.final


def put(workspace: Workspace, spec: TaskSpec, prepare: Callable[[], None] = lambda: None) -> None:
    """Ask, from a button; why it cannot be asked is shown in a corner of the page."""
    attempt(None, _ask, workspace, spec, prepare)


def _ask(workspace: Workspace, spec: TaskSpec, prepare: Callable[[], None]) -> None:
    check_start(workspace)
    prepare()
    ask(workspace, spec)


def latest(workspace: Workspace, kind: type[Asked], wanted: Callable[[Asked], bool]) -> TaskFolder | None:
    """The newest task of that kind whose spec is `wanted`, where several would answer what the page asks."""
    for task in workspace.tasks():
        spec = _spec(task)
        if isinstance(spec, kind) and wanted(spec):
            return task
    return None


@st.cache_data(max_entries=1000, show_spinner=False, hash_funcs={TaskFolder: task_key})
def _spec(task: TaskFolder) -> TaskSpec | None:
    try:
        return task.spec()
    except GraftError:
        return None
