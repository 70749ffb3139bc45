"""Whatever ends a job, its user reads a sentence, also on a disk with no room for one."""

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.runs.conftest import HERE
from tests.runs.executors import by
from tl_core.documents import base
from tl_core.documents.events import Ended
from tl_core.errors import DiskFull, GraftError, LayoutError, StoreError
from tl_core.runs.process.recorder import failure_of
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import RunFolder
from tl_core.runs.store.store import Store, Workspace, new_token

Train = Callable[..., RunFolder]


def test_what_the_user_can_mend_is_said_without_a_traceback(workspace: Workspace) -> None:
    job = by(HERE, jobs.submit_ingest, workspace, source_kind="sample", source="x", name="mended")
    status = job.status()
    assert status.state == "failed"
    assert status.failure is not None
    assert (status.failure.kind, status.failure.exit_code) == (LayoutError.kind, 2)
    assert "Make one folder for each class" in status.failure.message
    assert "Traceback" not in job.log()
    ended = job.events()[0][-1]
    assert isinstance(ended, Ended)
    assert ended.message == status.failure.message


def test_a_bug_keeps_its_traceback_in_the_log_only(workspace: Workspace) -> None:
    job = by(HERE, jobs.submit_ingest, workspace, source_kind="sample", source="x", name="bug")
    failure = job.status().failure
    assert failure is not None
    assert (failure.kind, failure.exit_code) == ("bug", 1)
    assert "Traceback" not in failure.message
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
    failure = failure_of(error)
    assert (failure.kind, failure.exit_code) == (DiskFull.kind, 2)
    assert "disk is full" in failure.message


def test_too_little_memory_says_what_to_do() -> None:
    class OutOfMemoryError(RuntimeError):
        pass

    for error in (
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
    ):
        failure = failure_of(error)
        assert ("on this GPU" in failure.message) == any(word in str(error) for word in ("CUDA", "CUDNN", "MPS"))
        assert (failure.kind, failure.exit_code) == ("device", 2)
        assert "smaller image size" in failure.message


def test_a_status_that_cannot_be_written_at_first_is_written_in_the_reserved_space(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = base.write_atomically

    def full_while_reserved(path: Path, content: bytes) -> None:
        if (path.parent / "reserve").exists() and path.name == "status.json":
            raise DiskFull(f"The disk is full: {path.name} could not be written.")
        real(path, content)

    monkeypatch.setattr(base, "write_atomically", full_while_reserved)
    job = by(HERE, jobs.submit_ingest, workspace, source_kind="sample", source="x", name="full")
    status = job.status()
    assert status.state == "failed"
    assert status.failure is not None
    assert status.failure.kind == DiskFull.kind


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
    with (folder / "others").open("wb", buffering=0) as file:
        while True:
            try:
                file.write(b"x" * 4096)
            except OSError:
                return


@pytest.mark.usefixtures("place")
def test_a_disk_that_fills_in_the_middle_of_a_run_is_a_failure_in_words(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_STORE", str(small_disk / "store"))
    workspace = Store.default().workspace(new_token())
    dataset = by(HERE, jobs.submit_ingest, workspace, source_kind="sample", source="x", name="dataset")
    run = jobs.submit_training(workspace, dataset, name="fills", device="cpu")
    events = list(jobs.follow(run))
    status = run.status()
    assert status.state == "failed"
    assert status.failure is not None
    assert (status.failure.kind, status.failure.exit_code) == (DiskFull.kind, 2)
    assert events[-1].type == "ended"
    (run.path / "ballast").unlink()
    _until_full(small_disk)
    with pytest.raises(DiskFull, match="Free some space"):
        jobs.submit_training(workspace, dataset, name="half second", device="cpu")
    assert [folder.id for folder in workspace.runs()] == [run.id]
    (small_disk / "others").unlink()
    again = jobs.submit_training(workspace, dataset, name="half second", device="cpu")
    list(jobs.follow(again))
    assert again.status().state == "succeeded"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EFBIG, errno.EIO, errno.EMFILE])
def test_what_the_system_refuses_is_no_bug(number: int) -> None:
    failure = failure_of(OSError(number, os.strerror(number), "/store/images/1.png"))
    assert (failure.kind, failure.exit_code) == (StoreError.kind, 2)
    assert os.strerror(number) in failure.message
    assert "/store/images/1.png" in failure.message


def test_a_special_case_of_an_error_does_not_take_the_name_of_the_error() -> None:
    class _Special(StoreError):
        pass

    assert _Special.kind == StoreError.kind
    assert GraftError.by_kind[StoreError.kind] is StoreError
