"""Real worker processes: what is left when they, or the app, are killed, and what others and they read of the operator's secrets."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.conftest import PictureFolder, picture, until
from tests.runs.conftest import BOTH, SIZE, ended, failure, kill, notices, read, running
from tests.runs.executors import LocalScratch, ServedScratch
from tests.runs.scratch import helper_id
from tl_core.documents.events import Progress, StageStarted
from tl_core.documents.tasks import PreviewSpec
from tl_core.errors import InUse, LimitReached
from tl_core.runs.process.executor import cancel
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import DatasetFolder, RunFolder, open_job
from tl_core.runs.store.store import Store, Workspace, new_token
from tl_core.runs.tasks.ask import ask
from tl_core.serving.predictor import Predictor

Train = Callable[..., RunFolder]


def _at_work(run: RunFolder) -> bool:
    return run.status().state == "running" and len(run.events()[0]) > 1


@pytest.mark.parametrize(("operators", "spins"), [(None, "2000"), ("7", "7")])
def test_a_worker_is_nice_patient_and_has_imported_nothing_heavy_before_its_job(
    train: Train, monkeypatch: pytest.MonkeyPatch, operators: str | None, spins: str
) -> None:
    monkeypatch.delenv("GOMP_SPINCOUNT", raising=False)
    if operators:
        monkeypatch.setenv("GOMP_SPINCOUNT", operators)
    run = train("nice")
    assert ended(run) == "succeeded"
    assert notices(run) == [f"nice {min(19, os.nice(0) + 10)}, heavy [], spins {spins}"]


@BOTH
def test_a_finished_job_tells_where_its_time_and_memory_went(train: Train) -> None:
    run = train("half second")
    events = list(jobs.follow(run))
    status = run.status()
    assert events[-1].state == status.state == "succeeded"
    assert 0.4 < status.seconds["training"] <= status.seconds["total"]
    assert 5 < (status.peak_memory_mb or 0) < 200
    assert status.device == "cpu"
    assert status.started < status.ended
    assert "Training" in run.log()
    assert not run.reserve.exists()


@BOTH
def test_cancel_ends_a_job_that_listens(train: Train) -> None:
    run = train("slow")
    assert (run.alive(), run.status().state) == (True, "queued"), "from its first moment"
    until(lambda: _at_work(run))
    cancel(run)
    assert not run.alive()
    assert run.status().state == "cancelled"
    assert run.events()[0][-1].type == "ended"


@BOTH
def test_cancel_frees_the_device_from_a_job_that_does_not_listen(train: Train) -> None:
    run = train("helped")
    until(lambda: helper_id(run))
    helper = helper_id(run)
    waiting = train("half second")
    until(lambda: waiting.status().stage == "waiting")
    cancel(run)
    assert not run.alive()
    assert run.status().state == "cancelled"
    until(lambda: not running(helper))
    until(lambda: waiting.status().state != "queued")


def test_a_job_whose_time_is_up_ends_in_words(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_JOB_HOURS", "0.0001")
    for run in (train("slow"), train("deaf")):
        list(jobs.follow(run))
        assert failure(run).kind == "limit_reached"
        assert failure(run).message.startswith("It was stopped because one job may work for 1\u202fs here.")
        assert run.events()[0][-1].type == "ended"


def test_a_job_whose_time_is_up_ends_even_where_no_thread_of_it_can_run(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_JOB_HOURS", "0.0001")
    run = train("stuck")
    list(jobs.follow(run))
    assert run.status().state == "interrupted"
    until(lambda: "its time was up" in run.log())


def test_a_training_whose_time_is_up_ends_with_its_best_state(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAFT_JOB_HOURS", "0.0001")
    run = train("best")
    assert ended(run) == "succeeded"
    assert notices(run) == [
        "It has worked for 1\u202fs, as long as one job may here. It ends with its best state so far.",
        "finished with the best so far",
    ]


def test_the_time_of_a_job_begins_when_its_turn_has_come(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train("slow")
    until(lambda: first.status().state == "running")
    monkeypatch.setenv("GRAFT_JOB_HOURS", "0.0003")
    second = train("half second")
    until(lambda: second.status().seconds or second.status().stage == "waiting")
    until(lambda: len(first.events()[0]) > 30)
    cancel(first)
    assert ended(second) == "succeeded"


def test_a_job_that_takes_too_much_memory_ends_in_words_and_keeps_its_best_state(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFT_JOB_MEMORY_GB", "0.4")
    run = train("hungry")
    list(jobs.follow(run))
    assert (failure(run).kind, failure(run).exit_code) == ("limit_reached", 2)
    assert "It needs more than 0.4 GB, the most that one job may have here." in failure(run).message
    assert run.can_finish()
    with pytest.raises(LimitReached):
        jobs.wait(run, None)


@BOTH
def test_a_job_is_cancelling_between_the_wish_and_the_end(train: Train) -> None:
    run = train("deaf")
    until(lambda: run.status().state == "running")
    run.cancel_file.touch()
    assert run.status().state == "cancelling"
    # No handle is used here, as from a second app: the worker ends itself.
    until(lambda: not run.alive())
    assert run.status().state == "cancelled"


@BOTH
def test_a_killed_worker_leaves_an_interrupted_run_a_whole_data_set_and_no_helper(
    train: Train, dataset: DatasetFolder, place: LocalScratch | ServedScratch
) -> None:
    run = train("helped")
    until(lambda: helper_id(run))
    helper = helper_id(run)
    kill(place.process(run), run)
    cause = run.status().failure
    assert "Start it again" in cause.message
    assert cause.exit_code == 1
    until(lambda: not running(helper))
    if isinstance(place, LocalScratch):
        until(lambda: "SIGKILL" in run.log())
    assert len(dataset.manifest().images) == 20
    assert ended(train("half second")) == "succeeded"


@pytest.mark.usefixtures("place")
def test_a_killed_app_takes_its_workers_along_and_the_next_app_goes_on(
    workspace: Workspace, dataset: DatasetFolder
) -> None:
    program = (
        "import sys, time\n"
        "from tl_core.runs.process.executor import chosen\nfrom tl_core.runs.start import jobs\n"
        "from tl_core.runs.store.store import Store\n"
        "workspace = Store.default().workspace(sys.argv[1])\n"
        "for does in ('helped', 'slow'):\n"
        "    run = jobs.submit_training(workspace, workspace.dataset(sys.argv[2]), name=does, device='cpu')\n"
        "    print(run.id, chosen().process(run), flush=True)\n"
        "time.sleep(3000)\n"
    )
    app = subprocess.Popen(
        [sys.executable, "-c", program, workspace.token, dataset.id], stdout=subprocess.PIPE, text=True
    )
    said = [app.stdout.readline().split() for _ in range(2)]
    first, second = (workspace.run(identifier) for identifier, _ in said)
    until(lambda: helper_id(first))
    until(lambda: second.status().stage == "waiting")
    helper = helper_id(first)
    app.kill()
    app.wait()
    app.stdout.close()
    for run in (first, second):
        until(lambda run=run: not run.alive())
        assert run.status().state == "interrupted"
    for process in (helper, *(int(process) for _, process in said)):
        until(lambda process=process: not running(process))
    assert ended(jobs.submit_training(workspace, dataset, name="half second", device="cpu")) == "succeeded"


@BOTH
def test_finish_with_the_best_so_far(train: Train) -> None:
    run = train("best")
    until(lambda: run.best.exists() and _at_work(run))
    cancel(run)
    assert run.can_finish()
    assert jobs.go_on(run, "best") == run
    assert ended(run) == "succeeded"
    assert notices(run) == ["finished with the best so far"]
    assert not run.can_finish()


def test_a_run_that_still_trains_goes_on_to_the_end_with_its_best_state(train: Train) -> None:
    run = train("best")
    until(run.best.is_file)
    assert run.alive()
    assert jobs.go_on(run, "best") == run
    assert ended(run) == "succeeded"
    assert notices(run) == [run.status().reason, "finished with the best so far"]
    assert run.status().reason == "It was to end with its best state."
    assert [event.type for event in run.events()[0]].count("ended") == 1, "in one process"


@BOTH
def test_what_a_job_needs_is_not_deleted(train: Train, dataset: DatasetFolder, workspace: Workspace) -> None:
    run = train("slow")
    until(lambda: run.status().state == "running")
    for delete, words in (
        (dataset.delete, "needs"),
        (run.delete, "still at work"),
        (workspace.delete, "still at work"),
    ):
        with pytest.raises(InUse, match=words):
            delete()
    assert len(dataset.manifest().images) == 20
    cancel(run)
    dataset.delete()
    assert workspace.datasets() == []
    workspace.delete()
    assert not workspace.exists


@pytest.mark.usefixtures("place")
def test_progress_is_written_four_times_a_second_and_the_last_of_it_always(workspace: Workspace) -> None:
    job = jobs.submit_ingest(workspace, source_kind="sample", source="x", name="chatty")
    events = list(jobs.follow(job))
    progress = [event for event in events if isinstance(event, Progress)]
    assert 3 <= len(progress) <= job.status().seconds["ingest"] * 4 + 2
    assert (progress[-1].done, progress[-1].seconds_left) == (1000, 0.0)
    assert [event.stage for event in events if isinstance(event, StageStarted)] == ["reading", "evaluation"]
    assert open_job(job.path) == job


def test_an_ingest_does_not_wait_behind_a_training(train: Train, workspace: Workspace) -> None:
    run = train("slow")
    until(lambda: run.status().state == "running")
    assert ended(jobs.submit_ingest(workspace, source_kind="sample", source="x", name="dataset")) == "succeeded"
    assert run.status().state == "running"
    cancel(run)


WITH_PROC = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="this system has no /proc")


def _told(process: int | str) -> tuple[bytes, bytes]:
    """Arguments and environment of a process; empty where it has ended."""
    with suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes(), Path(f"/proc/{process}/environ").read_bytes()
    return b"", b""


@contextmanager
def _watched() -> Iterator[set[bytes]]:
    """Arguments and environments of all processes of the machine, read again and again while the block runs."""
    seen: set[bytes] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            for entry in Path("/proc").iterdir():
                if entry.name.isdecimal():
                    seen.update(_told(entry.name))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield seen
    finally:
        done.set()
        watcher.join()


@WITH_PROC
@pytest.mark.usefixtures("backbones")
def test_the_token_is_in_no_argument_and_no_environment_of_any_process(picture_folder: PictureFolder) -> None:
    workspace = Store.default().workspace(new_token())
    with _watched() as seen:
        dataset = read(workspace, picture_folder())
        run = jobs.submit_training(workspace, dataset, image_size=SIZE)
        assert ended(run) == "succeeded"
        question = PreviewSpec(workspace=workspace.token, dataset=dataset.id, rows=(0,), copies=1, image_size=48)
        assert ended(ask(workspace, question)) == "succeeded"
        assert len(Predictor(run.bundle).predict([picture(0, 0)])) == 1
    assert any(b"tl_core.runs.worker" in text for text in seen)
    assert not any(workspace.token.encode() in text for text in seen)


@WITH_PROC
@BOTH
def test_a_worker_finds_its_job_as_its_working_folder_from_which_it_imports_nothing(
    train: Train, place: LocalScratch | ServedScratch
) -> None:
    run = train("best")
    until(lambda: run.best.exists() and run.status().state == "running")
    process = place.process(run)
    assert Path(f"/proc/{process}/cwd").resolve() == run.path.resolve()
    assert not any(run.path.parents[1].name.encode() in text for text in _told(process))
    cancel(run)
    for module in ("json", "tempfile", "tl_core", "tests"):
        (run.path / f"{module}.py").write_text("raise SystemExit('imported from the working folder')\n")
    jobs.go_on(run, "best")
    assert ended(run) == "succeeded"


SECRETS = {"AWS_SECRET_ACCESS_KEY": "s3-5f1c", "GRAFT_PASSWORD": "pw-5f1c", "DATABASE_URL": "db://u:5f1c@host"}


@WITH_PROC
@pytest.mark.parametrize(("backbone", "downloads"), [("efficientnet_lite0", False), ("vit_b_16", True)])
def test_a_worker_sees_no_secret_of_the_operator_and_the_key_to_the_hub_only_to_download_weights(
    train: Train,
    place: LocalScratch,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    backbone: str,
    downloads: bool,
) -> None:
    for name, value in {
        **SECRETS,
        "HF_TOKEN": "hf-5f1c",
        "TORCH_HOME": str(tmp_path),
        "CUDA_VISIBLE_DEVICES": "",
    }.items():
        monkeypatch.setenv(name, value)
    run = train("slow", backbone=backbone)
    until(lambda: run.status().state == "running")
    _, environment = _told(place.process(run))
    cancel(run)
    variables = dict(entry.split(b"=", 1) for entry in environment.split(b"\0") if entry)
    assert (b"HF_TOKEN" in variables) == downloads
    assert not {name.encode() for name in SECRETS} & set(variables)
    assert b"5f1c" not in environment.replace(b"hf-5f1c", b"")
    assert {b"PATH", b"GRAFT_STORE", b"TORCH_HOME", b"CUDA_VISIBLE_DEVICES"} <= set(variables)
