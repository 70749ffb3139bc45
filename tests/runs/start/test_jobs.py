"""Jobs are started and go on: once, with all that is wrong said before; the spec that right options come to."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from safetensors.numpy import save_file

from tests.conftest import PictureFolder
from tests.runs.conftest import HERE, checkpoint, ended, until
from tests.runs.executors import KEEPING, by
from tests.runs.scratch import judge
from tl_core.cli import main
from tl_core.documents.arrays import ENTRY
from tl_core.documents.events import Outlook, Resumed
from tl_core.documents.options import Recipe, TrainingOptions
from tl_core.errors import (
    DeviceError,
    DiskFull,
    GraftError,
    InUse,
    LimitReached,
    NotEmpty,
    NotFound,
    SpecError,
    UnknownName,
)
from tl_core.models.registry import network
from tl_core.runs.finished import summarise
from tl_core.runs.process import devices
from tl_core.runs.process.executor import cancel
from tl_core.runs.process.run_job import Held
from tl_core.runs.start import jobs
from tl_core.runs.start.training_spec import problems, setup_of, training_options, without_effect
from tl_core.runs.store.folders import DatasetFolder, RunFolder
from tl_core.runs.store.store import Workspace
from tl_core.runs.train.plan import outlook, settled
from tl_core.training.strategies.strategies import strategies, strategy

Train = Callable[..., RunFolder]


def test_a_run_that_waits_leaves_open_what_the_machine_decides(train: Train, workspace: Workspace) -> None:
    spec = train("half second", executor=HERE, device="auto").spec()
    assert (spec.backbone, spec.strategy, spec.chosen_by) == ("efficientnet_lite0", "default", "default")
    assert (spec.device, spec.estimated_seconds, spec.workspace) == ("auto", None, workspace.token)


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


def test_a_device_that_is_not_here_is_refused_where_jobs_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "detect_device", lambda: "cpu")
    with pytest.raises(DeviceError, match="no 'cuda' device here"):
        training_options({"device": "cuda"})
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


def _with_checkpoint(run: RunFolder) -> None:
    run.best.write_text("the best so far")
    save_file({"a": np.zeros(1)}, run.checkpoint_file, metadata={ENTRY: checkpoint(3).model_dump_json()})


FULL = Mock(side_effect=DiskFull("No space is left."))


@pytest.mark.parametrize("start", ["best", "checkpoint", "nothing"])
@pytest.mark.parametrize(("place", "name"), [(Held, "completed"), (Outlook, "write")])
def test_a_run_that_cannot_go_on_here_keeps_its_record(
    train: Train, monkeypatch: pytest.MonkeyPatch, start: jobs.Start, place: type, name: str
) -> None:
    run = train("mended", executor=HERE)
    _with_checkpoint(run)
    run.write_spec(run.spec().model_copy(update={"device": "cuda"}))
    monkeypatch.setattr(devices, "detect_device", lambda: "cpu")
    monkeypatch.setattr(place, name, FULL)
    before, spec, files = run.status(), run.spec(), {path.name for path in run.path.iterdir()}
    with pytest.raises(DiskFull):
        jobs.go_on(run, start)
    assert (run.status(), run.spec()) == (before, spec)
    assert {path.name for path in run.path.iterdir()} - {"submitted"} == files - {"submitted"}
    assert run.can_finish()
    assert run.can_resume()


def test_two_who_go_on_with_a_run_start_it_once(train: Train) -> None:
    run = train("best")
    until(lambda: run.best.exists() and run.best.read_text())
    cancel(run)
    _with_checkpoint(run)
    with ThreadPoolExecutor(4) as clicks:
        list(clicks.map(jobs.go_on, [run] * 4))
    until(lambda: run.status().state == "running")
    assert jobs.go_on(run) == run
    cancel(run)
    assert [event.epoch for event in run.events()[0] if isinstance(event, Resumed)] == [3]


def test_a_command_that_is_interrupted_names_the_one_that_goes_on(
    train: Train,
    dataset: DatasetFolder,
    picture_folder: PictureFolder,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = train("mended", executor=HERE)
    _with_checkpoint(run)

    def finish(job: RunFolder, on_event: object) -> None:
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
    assert run.expected().seconds < whole


@pytest.mark.parametrize("executor", ["no-such", "pathlib:Path"])
def test_a_run_that_no_executor_can_finish_keeps_its_record_and_can_be_tried_again(
    train: Train, monkeypatch: pytest.MonkeyPatch, executor: str
) -> None:
    run = train("mended", executor=HERE)
    run.best.write_text("the best so far")
    before = run.status()
    monkeypatch.setenv("GRAFT_EXECUTOR", executor)
    with pytest.raises(SpecError, match="executor"):
        jobs.go_on(run, "best")
    assert run.status() == before
    assert run.can_finish()
    assert not run.finishing


def test_a_data_set_that_was_not_read_cannot_be_trained_on(workspace: Workspace) -> None:
    broken = by(HERE, jobs.submit_ingest, workspace, source_kind="sample", source="x", name="mended")
    with pytest.raises(SpecError, match="not read to the end"):
        jobs.submit_training(workspace, broken, strategy="feature_extraction", device="cpu")
    assert workspace.runs() == []


def test_a_disk_that_is_full_when_a_run_is_made_leaves_nothing_of_it(
    workspace: Workspace, dataset: DatasetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Outlook, "write", FULL)
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

    run = train("mended", executor=HERE)
    run.best.write_text("the best so far")
    before = run.status()
    monkeypatch.setattr(Held, "completed", Mock(side_effect=LimitReached("As many jobs wait as may.")))
    monkeypatch.setattr(jobs, "write_atomically", on_full_disk)
    with pytest.raises(LimitReached):
        jobs.go_on(run, "best")
    assert run.status() == before
    assert run.can_finish()


def test_a_double_click_starts_one_job(workspace: Workspace, dataset: DatasetFolder, train: Train) -> None:
    with ThreadPoolExecutor(4) as clicks:
        (run,) = set(clicks.map(lambda _: train("half second", key="form 17"), range(4)))
    assert workspace.runs() == [run]
    assert ended(run) == "succeeded"
    assert train("half second", key="form 17") == run
    assert train("half second", key="form 18", executor=HERE) != run
    dataset.delete()
    assert not list((workspace.path / "runs").glob(".*"))


def test_a_double_click_reads_once(workspace: Workspace) -> None:
    again = {"source_kind": "sample", "source": "x", "name": "dataset", "key": "upload"}
    one, two = (by(HERE, jobs.submit_ingest, workspace, **again) for _ in range(2))
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
    assert list(summary.seconds) == ["ingest", "features", "training", "export", "evaluation", "total"]
    assert summary.seconds["total"] >= summary.seconds["training"] + summary.seconds["ingest"] > 0.4
    assert (summary.train_images, summary.val_images, summary.test_images) == (14, 3, 3)
    assert (summary.device, summary.value("macro_f1")) == ("cpu", 1.0)
    assert summary.peak_memory_mb
    dataset.delete()
    assert summarise(run).seconds["ingest"] == 0.0


WRONG: dict[str, tuple[Any, str]] = {
    "weights": ("finest", "'finest'"),
    "strategy": ("luck", "'luck'"),
    "solver": ("oracle", "'oracle'"),
    "stages": (77, "last stages of efficientnet_lite0 is 77"),
    "epochs": (0, "epochs is 0"),
    "image_size": (9000, "image size is 9000"),
    "seed": (-5, "seed is -5"),
    "device": ("tpu", "'tpu'"),
    "batch_size": (0, "batch size is 0"),
    "learning_rate": (0, "learning rate is 0"),
    "stage_rate": (-0.1, "learning rate of the stages is -0.1"),
    "optimizer": ("adagrad", "'adagrad'"),
    "augmentation": ("wild", "'wild'"),
    "mixup": (float("nan"), "mixup is nan"),
    "warmth": (1, "'warmth'"),
}


def test_everything_wrong_is_in_one_message_before_a_run_is_made(workspace: Workspace, dataset: DatasetFolder) -> None:
    with pytest.raises(SpecError) as caught:
        by(HERE, jobs.submit_training, workspace, dataset, **{name: value for name, (value, _) in WRONG.items()})
    for _, part in WRONG.values():
        assert part in caught.value.message
    assert workspace.runs() == []


def test_what_is_no_number_is_said_like_what_is_out_of_range() -> None:
    wrong: dict[str, Any] = {"stages": "two", "epochs": True, "image_size": 64.5, "seed": None, "batch_size": "x"}
    _, found = TrainingOptions.read({"strategy": "partial_fine_tuning", **wrong})
    for value, each in zip(wrong.values(), found, strict=True):
        assert f"is {value}; it takes a whole number" in each.message


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_alone_is_said_alone(name: str) -> None:
    value, part = WRONG[name]
    with pytest.raises(GraftError) as caught:
        training_options({name: value})
    assert part in caught.value.message


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"strategy": "lora"}, "transformer"),
        ({"strategy": "full_fine_tuning", "solver": "adam"}, "the head alone"),
        ({"stages": 9, "strategy": "full_fine_tuning"}, "is 9"),
        ({"image_size": 16, "backbone": "convnext_tiny"}, "convnext_tiny"),
    ],
)
def test_what_does_not_go_together_says_why(options: dict[str, Any], said: str) -> None:
    with pytest.raises(GraftError, match=said):
        training_options(options)


def test_a_size_is_refused_beside_weights_that_do_not_exist_where_no_set_takes_it() -> None:
    both = problems(TrainingOptions(backbone="vit_b_16", weights="finest", image_size=100))
    assert ["not 100" in each.message for each in both] == [False, True]
    (only,) = problems(TrainingOptions(backbone="vit_b_16", weights="finest", image_size=384))
    assert "finest" in only.message


def test_a_spec_has_the_row_s_recipe_with_what_the_user_changed(dataset: DatasetFolder) -> None:
    changes = {"mixup": 0.2, "views": 2}
    setup = setup_of(TrainingOptions(strategy="lp_ft", device="cpu", recipe=changes), dataset)
    spec, row = setup.spec, strategy("lp_ft")
    assert (spec.recipe, spec.epochs, spec.changes) == (row.recipe.changed(changes), row.epochs, changes)
    assert spec.recipe.learning_rate != Recipe().learning_rate
    assert (spec.chosen_by, spec.reason) == ("user", None)
    assert spec.weights == network(spec.backbone).default_weights
    assert without_effect(setup) == []


def test_more_stages_than_there_are_is_never_the_default() -> None:
    for row in strategies().values():
        assert all("transformer" in problem.message for problem in problems(TrainingOptions(strategy=row.name)))


@pytest.mark.parametrize(
    ("options", "idle"),
    [
        ({"strategy": "feature_extraction", "epochs": 4, "mixup": 0.1}, ["mixup", "epochs"]),
        ({"solver": "adam", "epochs": 4, "mixup": 0.1, "cutmix": 1.0}, ["cutmix"]),
        ({"strategy": "full_fine_tuning", "momentum": 0.8, "lora_rank": 4}, ["momentum", "lora_rank"]),
        ({"strategy": "full_fine_tuning", "momentum": 0.8, "optimizer": "sgd"}, []),
        ({"strategy": "feature_extraction", "stages": 3}, ["stages"]),
        ({"strategy": "partial_fine_tuning", "stages": 3}, []),
    ],
)
def test_settings_that_play_no_part_are_named(dataset: DatasetFolder, options: dict[str, Any], idle: list[str]) -> None:
    assert without_effect(settled(setup_of(training_options({"device": "cpu", **options}), dataset), dataset)) == idle
