"""Tasks that are carried out in the process of the test."""

from collections.abc import Callable

import pytest

from tests.runs.conftest import ended
from tests.runs.executors import InProcess, by
from tl_core.documents.tasks import TaskSpec
from tl_core.runs.store.folders import TaskFolder
from tl_core.runs.store.store import Workspace
from tl_core.runs.tasks.ask import ask
from tl_core.runs.worker import JOBS

CarryOut = Callable[[TaskSpec], TaskFolder]


@pytest.fixture
def carry_out(workspace: Workspace) -> CarryOut:
    """Ask a task anew and carry it out; it succeeded."""

    def carried_out(spec: TaskSpec) -> TaskFolder:
        for earlier in workspace.tasks():
            earlier.delete()
        task = by(InProcess(JOBS), ask, workspace, spec)
        assert ended(task) == "succeeded"
        return task

    return carried_out
