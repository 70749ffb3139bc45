"""What is written into the folder of a job, by several threads at the same time, and the sentence that its user reads, also on a disk with no room for one."""

import errno
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from unittest.mock import Mock

import pytest

from tests.runs.conftest import HERE, ended, failure, until
from tests.runs.executors import by
from tl_core.documents import base
from tl_core.documents.events import Event, Notice, Progress, Resumed, StageStarted, Status
from tl_core.errors import DiskFull, GraftError, LayoutError, StoreError
from tl_core.runs.process.recorder import Recorder, failure_of
from tl_core.runs.start import jobs
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store, Workspace, new_token

EACH = 300


def _job(tmp_path: Path) -> JobFolder:
    (tmp_path / "reserve").touch()
    return JobFolder(tmp_path)


def test_lines_of_two_threads_stay_whole_and_in_the_order_of_time(tmp_path: Path) -> None:
    job = _job(tmp_path)
    recorder = Recorder(job)

    def write(who: str) -> None:
        for number in range(EACH):
            recorder.write(Notice(message=f"{who} {number} " + who * 2000))
            recorder.write(Progress(stage="training", done=number, total=EACH))

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(write, "ab"))
    recorder.end()
    recorder.close()
    events, offset = job.events()
    assert offset == (tmp_path / "events.jsonl").stat().st_size, "every line is an event"
    assert len((tmp_path / "events.jsonl").read_bytes().splitlines()) == len(events)
    said = [event.message.split()[:2] for event in events if isinstance(event, Notice)]
    for who in "ab":
        assert [int(number) for name, number in said if name == who] == list(range(EACH))
    assert list(events) == sorted(events, key=lambda event: event.time)


def test_a_sampler_that_fails_is_logged_and_the_job_goes_on(tmp_path: Path) -> None:
    job = _job(tmp_path)
    recorder = Recorder(job)
    recorder.sample(Mock(side_effect=OSError("no such sensor")), 0.005)
    until(
        lambda: (
            "A sampler stopped: OSError: no such sensor" in (job.log_file.read_text() if job.log_file.exists() else "")
        )
    )
    recorder.end()
    recorder.close()
    assert job.status().state == "succeeded"


def test_a_sampler_speaks_beside_the_job_until_the_job_has_ended(tmp_path: Path) -> None:
    job = _job(tmp_path)
    recorder = Recorder(job)
    looked: list[threading.Thread] = []

    def look() -> Event | None:
        looked.append(threading.current_thread())
        return Notice(message=f"{50 + len(looked)} degrees") if len(looked) % 2 else None

    recorder.sample(look, 0.005)
    recorder.write(StageStarted(stage="training", title="Training"))
    until(lambda: len([event for event in job.events()[0] if isinstance(event, Notice)]) >= 3)
    recorder.end()
    recorder.write(Notice(message="too late"))
    recorder.close()
    events, _ = job.events()
    assert events[-1].type == "ended"
    assert all(event.message.endswith(" degrees") for event in events if isinstance(event, Notice))
    until(lambda: not looked[0].is_alive())


def test_the_seconds_of_a_job_that_goes_on_count_what_it_took_before(tmp_path: Path) -> None:
    job = _job(tmp_path)
    (tmp_path / "spec.json").touch()
    before = {"waiting": 50.0, "preparing": 10.0, "training": 1000.0, "total": 1010.0}
    resumed = Resumed(epoch=4, seconds=before)
    Status(state="queued", started=5.0, seconds=before, resumed=resumed).write(job.status_file)
    recorder = Recorder(job)
    begun = time.monotonic()
    recorder.write(StageStarted(stage="preparing", title="Preparing the pictures"))
    recorder.write(StageStarted(stage="training", title="Training"))
    recorder.end()
    taken = time.monotonic() - begun
    recorder.close()
    status = job.status()
    assert (status.started, status.resumed) == (5.0, resumed)
    assert status.seconds["waiting"] == 50
    assert 1000 <= status.seconds["training"] <= 1000 + taken + 0.001
    assert 1010 <= status.seconds["total"] <= 1010 + taken + 0.1
    first, *_ = job.events()[0]
    assert isinstance(first, Resumed)


def test_what_another_worker_left_does_not_count(tmp_path: Path) -> None:
    job = _job(tmp_path)
    (tmp_path / "spec.json").touch()
    Status(state="running", started=5.0, seconds={"training": 1000.0}).write(job.status_file)
    recorder = Recorder(job)
    recorder.end()
    recorder.close()
    assert job.status().seconds["total"] < 1000
    assert not any(isinstance(event, Resumed) for event in job.events()[0])


def _ingest(workspace: Workspace, does: str) -> JobFolder:
    return by(HERE, jobs.submit_ingest, workspace, source_kind="sample", source="x", name=does)


def test_what_the_user_can_mend_is_said_without_a_traceback(workspace: Workspace) -> None:
    job = _ingest(workspace, "mended")
    found = failure(job)
    assert (found.kind, found.exit_code) == (LayoutError.kind, 2)
    assert "Make one folder for each class" in found.message
    assert "Traceback" not in job.log()
    assert job.events()[0][-1].message == found.message


def test_a_bug_keeps_its_traceback_in_the_log_only(workspace: Workspace) -> None:
    job = _ingest(workspace, "bug")
    found = failure(job)
    assert (found.kind, found.exit_code) == ("bug", 1)
    assert "Traceback" not in found.message
    assert "Traceback" in job.log()
    assert "a screw is loose" in job.log()
    assert len(job.log(tail_bytes=50)) <= 50


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)),
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        DiskFull("The disk is full."),
        RuntimeError("I/O error: No space left on device (os error 28)"),
    ],
)
def test_a_full_disk_is_known_by_whatever_name(error: Exception) -> None:
    found = failure_of(error)
    assert (found.kind, found.exit_code) == (DiskFull.kind, 2)
    assert "disk is full" in found.message


class OutOfMemoryError(RuntimeError):
    """Called as that of torch."""


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("MPS backend out of memory (MPS allocated: 8 GB)"),
        RuntimeError("Non-zero status code returned: Failed to allocate memory for requested buffer of size 9"),
        OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)),
        ImportError("libx265-4883ecb5.so.217: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
        RuntimeError("std::bad_alloc"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
    ],
    ids=str,
)
def test_too_little_memory_says_what_to_do(error: Exception) -> None:
    found = failure_of(error)
    assert ("on this GPU" in found.message) == any(word in str(error) for word in ("CUDA", "CUDNN", "MPS"))
    assert (found.kind, found.exit_code) == ("device", 2)
    assert "smaller image size" in found.message


def test_a_status_that_cannot_be_written_at_first_is_written_in_the_reserved_space(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = base.write_atomically

    def full_while_reserved(path: Path, content: bytes) -> None:
        if (path.parent / "reserve").exists() and path.name == "status.json":
            raise DiskFull(f"The disk is full: {path.name} could not be written.")
        real(path, content)

    monkeypatch.setattr(base, "write_atomically", full_while_reserved)
    assert failure(_ingest(workspace, "full")).kind == DiskFull.kind


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a megabyte of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"this user may not mount a small disk: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def _until_full(folder: Path) -> None:
    with suppress(OSError), (folder / "others").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


@pytest.mark.usefixtures("place")
def test_a_disk_that_fills_in_the_middle_of_a_run_is_a_failure_in_words(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_STORE", str(small_disk / "store"))
    workspace = Store.default().workspace(new_token())
    dataset = _ingest(workspace, "dataset")
    run = jobs.submit_training(workspace, dataset, name="fills", device="cpu")
    events = list(jobs.follow(run))
    assert (failure(run).kind, failure(run).exit_code) == (DiskFull.kind, 2)
    assert events[-1].type == "ended"
    (run.path / "ballast").unlink()
    _until_full(small_disk)
    with pytest.raises(DiskFull, match="Free some space"):
        jobs.submit_training(workspace, dataset, name="half second", device="cpu")
    assert [folder.id for folder in workspace.runs()] == [run.id]
    (small_disk / "others").unlink()
    assert ended(jobs.submit_training(workspace, dataset, name="half second", device="cpu")) == "succeeded"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EFBIG, errno.EIO, errno.EMFILE])
def test_what_the_system_refuses_is_no_bug(number: int) -> None:
    found = failure_of(OSError(number, os.strerror(number), "/store/images/1.png"))
    assert (found.kind, found.exit_code) == (StoreError.kind, 2)
    assert os.strerror(number) in found.message
    assert "/store/images/1.png" in found.message


def test_a_special_case_of_an_error_does_not_take_the_name_of_the_error() -> None:
    class _Special(StoreError):
        pass

    assert _Special.kind == StoreError.kind
    assert GraftError.by_kind[StoreError.kind] is StoreError
