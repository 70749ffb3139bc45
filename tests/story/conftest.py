"""A run to tell of, with its data set."""

import pytest

from tests.app import records
from tl_core.runs.finished import source_of
from tl_core.runs.store.folders import RunFolder
from tl_core.statements import Source


def a_run(*, mistakes: tuple[int, ...] = (0, 1, 4), classes: tuple[str, ...] = ("cup", "plate", "bowl")) -> RunFolder:
    return records.run(records.dataset(classes=classes), mistakes=mistakes, strategy="partial_fine_tuning")


@pytest.fixture
def run() -> RunFolder:
    """A run in the test's own store."""
    return a_run()


@pytest.fixture(scope="session")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, Source]:
    """A run in a store that no test changes, and what its story is told from."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFT_STORE", str(tmp_path_factory.mktemp("told")))
        run = a_run()
        return run, source_of(run)


@pytest.fixture
def source(told: tuple[RunFolder, Source]) -> Source:
    return told[1]
