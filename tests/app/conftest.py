"""A page under AppTest, opened in a workspace of its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.testing.v1 import AppTest

from tests.app import records
from tests.app.records import TOKEN
from tests.conftest import PATIENCE
from tl_core.data.checks import findings
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from ui import classifier
from ui.workspace import BUG

ROOT = Path(__file__).parents[2]
Open = Callable[..., AppTest]


@pytest.fixture(autouse=True)
def nothing_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    """A page that raises an error fails its test, whenever it runs."""
    run = AppTest._run

    def checked(app: AppTest, *given: Any, **more: Any) -> AppTest:
        run(app, *given, **more)
        assert not app.exception
        return app

    monkeypatch.setattr(AppTest, "_run", checked)


@pytest.fixture
def data() -> DatasetFolder:
    """A data set of three classes of twenty pictures in the test's workspace."""
    return records.dataset()


@pytest.fixture
def run(data: DatasetFolder) -> RunFolder:
    """A run on it that ended well, with one mistake."""
    return records.run(data)


@pytest.fixture
def open_page(monkeypatch: pytest.MonkeyPatch) -> Open:
    """`open_page("pages/1_Data.py", dataset=ID)` runs a page in the test's workspace, or in `workspace=TOKEN`."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.setattr(classifier, "get_ready", lambda: None)

    def page(path: str = "streamlit_app.py", *, workspace: str | None = TOKEN, **query: str) -> AppTest:
        app = AppTest.from_file(str(ROOT / "streamlit_app.py"), default_timeout=PATIENCE)
        if path != "streamlit_app.py":
            app.switch_page(path)
        if workspace is not None:
            app.query_params["workspace"] = workspace
        for name, value in query.items():
            app.query_params[name] = value
        app.run()
        assert BUG not in [error.value for error in app.error]
        return app

    return page


@pytest.fixture
def in_memory(monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """The names of the uploads that are still in memory after a page was run."""
    made: list[MemoryUploadedFileManager] = []

    def make(endpoint: str) -> MemoryUploadedFileManager:
        made.append(MemoryUploadedFileManager(endpoint))
        return made[-1]

    monkeypatch.setattr("streamlit.testing.v1.local_script_runner.MemoryUploadedFileManager", make)
    return lambda: [record.name for files in made[-1].file_storage.values() for record in files.values()]


def press(app: AppTest, label: str) -> AppTest:
    """The page after the button called `label` was pressed, the first of several."""
    return next(button for button in app.button if button.label == label).click().run()


def text(app: AppTest) -> str:
    """Everything that a page says, as one string."""
    kinds = ("title", "header", "subheader", "markdown", "caption", "error", "warning", "success", "info")
    said = [str(element.value) for kind in kinds for element in getattr(app, kind)]
    return "\n".join([*said, *(box.label for box in app.expander)])


def unfolded(open_page: Open, data: DatasetFolder, kind: str) -> AppTest:
    """The Data page with the finding of that kind unfolded."""
    app = open_page("pages/1_Data.py", dataset=data.id)
    index = [finding.kind for finding in findings(data.manifest())].index(kind)
    app.session_state[f"finding-{kind}-{index}-{data.id}-{data.number}-box"] = True
    return app.run()
