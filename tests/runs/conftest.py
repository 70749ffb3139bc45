"""Fixtures of the run tests: a workspace, jobs with work of the tests' own, and patience with a limit."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import until
from tests.runs import scratch
from tests.runs.executors import InProcess
from tl_core.data.cache import Cache
from tl_core.models.graphs.export import exported_backbone
from tl_core.models.registry import network
from tl_core.runs.process.executor import Executor, chosen
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store, Workspace, new_token

SCRATCH = "tests.runs.executors:LocalScratch"
BOTH = pytest.mark.parametrize("place", [SCRATCH, "tests.runs.executors:ServedScratch"], indirect=True)
"""Runs a test with the local executor and with another one."""
EXPORTED_SIZE = 96
"""Pixels; small, so that a step takes a moment."""
HERE = InProcess({"ingest": scratch.do, "train": scratch.do})


def running(process: int) -> bool:
    """Whether a process of that id runs; one that has ended and was not waited for yet does not."""
    status = Path(f"/proc/{process}/status")
    with suppress(FileNotFoundError, ProcessLookupError):
        return "\nState:\tZ" not in status.read_text()
    return False


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache's folder of exported backbones, with the embedded one of `EXPORTED_SIZE` in it; to be copied."""
    root = tmp_path_factory.mktemp("exported")
    for _ in exported_backbone(network("efficientnet_lite0"), None, EXPORTED_SIZE, Cache(root, 10**9)):
        pass
    return root / "backbones"


@pytest.fixture
def workspace(store: Path) -> Workspace:
    return Store.default().workspace(new_token())


@pytest.fixture
def dataset(workspace: Workspace) -> DatasetFolder:
    """A data set that was read, of two classes with ten pictures each."""
    return jobs.submit_ingest(workspace, source_kind="sample", source="scratch", name="dataset", executor=HERE)


@pytest.fixture
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Executor:
    """The executor that GRAFT_EXECUTOR names in this test: the local one with the jobs of `scratch`, or the parameter."""
    monkeypatch.setenv("GRAFT_EXECUTOR", getattr(request, "param", SCRATCH))
    return chosen()


@pytest.fixture
def train(workspace: Workspace, dataset: DatasetFolder, place: Executor) -> Iterator[Callable[..., RunFolder]]:
    """Start a run whose name says what it does; none outlives its test."""
    started: list[RunFolder] = []

    def start(does: str, **options: object) -> RunFolder:
        given: dict[str, object] = {"device": "cpu", **options}
        run = jobs.submit_training(workspace, dataset, name=does, **given)  # type: ignore[arg-type]
        started.append(run)
        return run

    yield start
    end_all(place, started)


def end_all(place: Executor, started: Iterable[JobFolder]) -> None:
    """Cancel what waits and kill what runs."""
    left = [job for job in started if job.alive()]
    for job in left:
        job.cancel_file.touch()
    for job in left:
        with suppress(KeyError, FileNotFoundError, ValueError, ProcessLookupError):
            os.killpg(place.process(job), signal.SIGKILL)  # type: ignore[attr-defined]
    for job in left:
        until(lambda job=job: not job.alive())
