"""Asking for jobs: wrong options all at once, a double click once, a folder of one's own, and what a run amounts to."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.conftest import PictureFolder
from tests.runs.conftest import HERE, ended, until
from tests.runs.executors import KEEPING, by
from tests.runs.scratch import judge
from tl_core.cli import main
from tl_core.documents.arrays import ENTRY, Checkpoint
from tl_core.documents.events import Outlook, Resumed
from tl_core.errors import DeviceError, DiskFull, InUse, LimitReached, NotEmpty, NotFound, SpecError, UnknownName
from tl_core.runs.finished import summarise
from tl_core.runs.process import devices
from tl_core.runs.process.executor import cancel
from tl_core.runs.process.run_job import Held
from tl_core.runs.start import jobs
from tl_core.runs.start.training_spec import training_options
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.job_folder import JobFolder
from tl_core.runs.store.store import Store, Workspace
from tl_core.runs.train.plan import outlook

Train = Callable[..., RunFolder]


def test_a_run_that_waits_leaves_open_what_the_machine_decides(train: Train, workspace: Workspace) -> None:
    run = train("half second", executor=HERE, device="auto")
    spec = run.spec()
    assert (spec.backbone, spec.strategy, spec.chosen_by, spec.device) == (
        "efficientnet_lite0",
        "default",
        "default",
        "auto",
    )
    assert spec.estimated_seconds is None
    assert spec.image_size >= 16
    assert spec.weights
    assert spec.workspace == workspace.token


def test_all_wrong_options_are_said_at_once(workspace: Workspace, dataset: DatasetFolder) -> None:
    with pytest.raises(SpecError) as caught:
        jobs.submit_training(
            workspace, dataset, backbone="resnet19", strategy="luck", stages=0, epochs=0, image_size=5000, seed=-1
        )
    for part in ("resnet19", "resnet18", "luck", "feature_extraction", "stages", "epochs", "image size", "seed"):
        assert part in caught.value.message
    assert not list((workspace.path / "runs").glob("*"))
    assert workspace.runs() == []


def test_a_run_that_needs_far_more_memory_than_one_job_may_have_is_refused_where_the_machine_is_this_one(
    train: Train, workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = {"backbone": "resnet50", "strategy": "full_fine_tuning", "image_size": 448, "executor": HERE}
    monkeypatch.setenv("GRAFT_JOB_MEMORY_GB", "4")
    with pytest.raises(
        LimitReached, match=r"about 11 GB of memory, and one job may have 4\.0 GB here\. It would fit with a"
    ):
        train("half second", **large)
    assert not list((workspace.path / "runs").glob("*"))
    monkeypatch.setenv("GRAFT_JOB_MEMORY_GB", "8")
    run = train("half second", **large)
    assert run.expected().memory_mb == 8000, "an estimate may be too high"
    monkeypatch.setenv("GRAFT_JOB_MEMORY_GB", "4")
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    assert outlook(run.spec(), dataset).seconds, "another machine may have more"


def test_one_wrong_option_is_raised_as_what_it_is() -> None:
    with pytest.raises(UnknownName):
        training_options({"strategy": "luck"})
    with pytest.raises(UnknownName):
        training_options({"device": "tpu"})


def test_a_device_that_is_not_here_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "detect_device", lambda: "cpu")
    with pytest.raises(DeviceError, match="no 'cuda' device here"):
        training_options({"device": "cuda"})


def test_another_executor_may_have_a_device_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "detect_device", lambda: "cpu")
    monkeypatch.setenv("GRAFT_EXECUTOR", KEEPING)
    assert training_options({"device": "cuda"}).device == "cuda"
    with pytest.raises(UnknownName):
        training_options({"device": "tpu"})


def test_a_run_whose_gpu_is_gone_is_finished_on_another_device(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    run = train("best")
    until(lambda: run.best.exists() and run.best.read_text())
    cancel(run)
    run.write_spec(run.spec().model_copy(update={"device": "cuda"}))
    monkeypatch.setattr(devices, "detect_device", lambda: "cpu")
    jobs.go_on(run, "best")
    assert ended(run) == "succeeded"
    assert (run.spec().device, run.status().device) == ("auto", "cpu")


def test_a_run_that_cannot_be_finished_here_keeps_its_record(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise DiskFull("No space is left.")

    run = train("mended")
    list(jobs.follow(run))
    run.best.write_text("the best so far")
    run.write_spec(run.spec().model_copy(update={"device": "cuda"}))
    monkeypatch.setattr(devices, "detect_device", lambda: "cpu")
    monkeypatch.setattr(Held, "completed", full)
    before, spec, files = run.status(), run.spec(), sorted(path.name for path in run.path.iterdir())
    assert before.state == "failed"
    with pytest.raises(DiskFull):
        jobs.go_on(run, "best")
    assert (run.status(), run.spec()) == (before, spec)
    assert sorted(path.name for path in run.path.iterdir()) == files
    assert run.can_finish()


def _with_checkpoint(run: RunFolder) -> None:
    found = Checkpoint(
        epoch=3,
        epochs=10,
        best_epoch=0,
        best_loss=1.0,
        best_accuracy=0.5,
        ages=(1,),
        averaged=0,
        scaler={},
        micro_batch=1,
        precision="float32",
        device="cpu",
        torch="2.0.0",
    )
    run.best.write_text("the best so far")
    save_file({"a": np.zeros(1)}, run.checkpoint_file, metadata={ENTRY: found.model_dump_json()})


@pytest.mark.parametrize("from_start", [False, True])
def test_a_run_that_cannot_go_on_here_keeps_its_record(
    train: Train, monkeypatch: pytest.MonkeyPatch, from_start: bool
) -> None:
    def full(*_: object) -> None:
        raise DiskFull("No space is left.")

    run = train("mended")
    list(jobs.follow(run))
    _with_checkpoint(run)
    before, files = run.status(), {path.name for path in run.path.iterdir()}
    for place in (Held, Outlook):
        with monkeypatch.context() as patch:
            patch.setattr(place, "completed" if place is Held else "write", full)
            with pytest.raises(DiskFull):
                jobs.go_on(run, "nothing" if from_start else "checkpoint")
        assert run.status() == before
        assert {path.name for path in run.path.iterdir()} - {"submitted"} == files
        assert run.can_resume()


def test_two_who_go_on_with_a_run_start_it_once(train: Train) -> None:
    run = train("best")
    until(lambda: run.best.exists() and run.best.read_text())
    cancel(run)
    _with_checkpoint(run)
    clicks = [threading.Thread(target=jobs.go_on, args=(run,)) for _ in range(4)]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    until(lambda: run.status().state == "running")
    assert jobs.go_on(run) == run
    cancel(run)
    resumed = [event for event in run.events()[0] if isinstance(event, Resumed)]
    assert [event.epoch for event in resumed] == [3]


def test_a_command_that_is_interrupted_names_the_one_that_goes_on(
    train: Train,
    dataset: DatasetFolder,
    picture_folder: PictureFolder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = train("mended", executor=HERE)
    _with_checkpoint(run)

    def finish(job: JobFolder, on_event: object) -> None:
        if job == run:
            raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "read_pictures", lambda *_, **__: dataset)
    monkeypatch.setattr(jobs, "submit_training", lambda *_, **__: run)
    monkeypatch.setattr(jobs, "wait", finish)
    assert main(["train", str(picture_folder()), "--json"]) == 130
    assert f"python -m tl_core resume {run.path}" in capsys.readouterr().err


def test_what_is_left_of_a_run_is_expected_to_take_less_than_all_of_it(train: Train) -> None:
    run = train("mended", executor=HERE, strategy="full_fine_tuning", epochs=10)
    whole = run.expected().seconds
    _with_checkpoint(run)
    by(HERE, jobs.go_on, run)
    left = run.expected().seconds
    assert whole is not None
    assert left is not None
    assert left < whole


def test_a_run_that_no_executor_can_finish_keeps_its_record_and_can_be_tried_again(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train("mended")
    list(jobs.follow(run))
    run.best.write_text("the best so far")
    before = run.status()
    for executor in ("no-such", "pathlib:Path"):
        monkeypatch.setenv("GRAFT_EXECUTOR", executor)
        with pytest.raises(SpecError, match="executor"):
            jobs.go_on(run, "best")
        assert run.status() == before
        assert run.can_finish()
        assert not run.finishing


def test_a_source_that_is_not_there_is_said_before_a_job_is_made(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere"):
        jobs.submit_ingest(workspace, source_kind="folder", source=tmp_path / "nowhere", name="x")
    assert not workspace.exists


def test_a_data_set_that_was_not_read_cannot_be_trained_on(workspace: Workspace) -> None:
    broken = by(HERE, jobs.submit_ingest, workspace, source_kind="sample", source="x", name="mended")
    with pytest.raises(SpecError, match="not read to the end"):
        jobs.submit_training(workspace, broken, strategy="feature_extraction", device="cpu")
    assert workspace.runs() == []


def test_a_disk_that_is_full_when_a_run_is_made_leaves_nothing_of_it(
    workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise DiskFull("The disk is full.")

    monkeypatch.setattr("tl_core.documents.events.Outlook.write", full)
    with pytest.raises(DiskFull):
        jobs.submit_training(workspace, dataset)
    assert workspace.runs() == []


def test_a_disk_that_is_full_leaves_the_users_own_folder_free_for_the_next_attempt(
    workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(path: Path) -> None:
        path.write_bytes(b"a part")
        raise DiskFull("The disk is full.")

    out = tmp_path / "run"
    out.mkdir()
    monkeypatch.setattr("tl_core.runs.store.job_folder.keep_reserve", full)
    for _ in range(2):
        with pytest.raises(DiskFull):
            jobs.submit_training(workspace, dataset, out=out)
    assert not list(tmp_path.glob("run/*"))


def test_on_a_full_disk_the_record_of_a_run_that_cannot_be_finished_has_the_space_that_was_set_aside(
    train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_full_disk(path: Path, content: bytes) -> None:
        if run.reserve.exists():
            raise DiskFull("The disk is full.")
        path.write_bytes(content)

    def refuse(*_: object) -> None:
        raise LimitReached("As many jobs wait as may.")

    run = train("mended")
    list(jobs.follow(run))
    run.best.write_text("the best so far")
    before = run.status()
    monkeypatch.setattr(Held, "completed", refuse)
    monkeypatch.setattr(jobs, "write_atomically", on_full_disk)
    with pytest.raises(LimitReached):
        jobs.go_on(run, "best")
    assert run.status() == before
    assert run.can_finish()


def test_a_double_click_starts_one_job(workspace: Workspace, dataset: DatasetFolder, train: Train) -> None:
    found: list[RunFolder] = []
    clicks = [threading.Thread(target=lambda: found.append(train("half second", key="form 17"))) for _ in range(4)]
    for click in clicks:
        click.start()
    for click in clicks:
        click.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    assert len(workspace.runs()) == 1
    list(jobs.follow(found[0]))
    assert found[0].status().state == "succeeded"
    assert train("half second", key="form 17") == found[0]
    assert train("half second", key="form 18", executor=HERE) != found[0]
    dataset.delete()
    assert not list((workspace.path / "runs").glob(".*"))


def test_a_double_click_reads_once(workspace: Workspace) -> None:
    one, two = (
        by(HERE, jobs.submit_ingest, workspace, source_kind="sample", source="x", name="dataset", key="upload")
        for _ in range(2)
    )
    assert one == two
    assert workspace.datasets() == [one]


def test_a_run_can_have_a_folder_of_the_users_own(train: Train, dataset: DatasetFolder, tmp_path: Path) -> None:
    out = tmp_path / "results" / "run"
    run = train("slow", out=out)
    assert run.path == out
    assert RunFolder(out).alive()
    with pytest.raises(NotEmpty):
        train("half second", out=out)
    with pytest.raises(InUse):
        dataset.delete()
    cancel(run)
    assert RunFolder(out).status().state == "cancelled"
    dataset.delete()


def test_a_folder_that_holds_something_is_left_alone(train: Train, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for out in (tmp_path, tmp_path / "thesis.txt"):
        with pytest.raises(NotEmpty):
            train("half second", out=out)
    with pytest.raises(SpecError, match=r"thesis\.txt is no folder"):
        train("half second", out=tmp_path / "thesis.txt" / "deeper")
    assert not (tmp_path / "lock").exists()
    assert (tmp_path / "thesis.txt").read_text() == "mine"


def test_the_summary_of_a_run_has_the_promised_fields(train: Train, dataset: DatasetFolder) -> None:
    run = train("half second", executor=HERE, strategy="feature_extraction")
    with pytest.raises(NotFound):
        summarise(run)
    judge(run)
    summary = summarise(run)
    assert set(summary.model_dump()) == {
        *("run_dir", "classes", "train_images", "val_images", "test_images", "refused_files", "val_accuracy"),
        *("cv_accuracy", "cv_interval", "headline", "one_moment", "leaked_images"),
        *("test_accuracy_without_leaked", "test_interval_without_leaked"),
        *("test_accuracy", "test_interval", "macro_f1", "seconds", "peak_memory_mb", "backbone", "weights", "strategy"),
        *("chosen_by", "reason", "solver", "device", "gpu", "seed", "trainable_parameters", "total_parameters"),
        "estimated_seconds",
    }
    assert summary.value("macro_f1") == 1.0
    assert list(summary.seconds) == ["ingest", "features", "training", "export", "evaluation", "total"]
    assert summary.seconds["training"] > 0.4
    assert summary.seconds["total"] >= summary.seconds["training"] + summary.seconds["ingest"]
    assert (summary.train_images, summary.val_images, summary.test_images) == (14, 3, 3)
    assert summary.device == "cpu"
    assert summary.peak_memory_mb
    assert run in Store.default().workspace(run.spec().workspace).runs()
    dataset.delete()
    assert summarise(run).seconds["ingest"] == 0.0
    assert Store.default().workspace(run.spec().workspace).datasets() == []
