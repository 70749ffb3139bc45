"""Ways to train: a race, by the rule, by steps, with a network that only timm knows, and, among the slow tests, with one of every family."""

import json
import re
from collections.abc import Generator
from functools import partial
from pathlib import Path

import pytest

from tests.cli.conftest import SIZE, Terminal, Trained
from tests.conftest import PictureFolder
from tests.runs.executors import InProcess
from tests.runs.scratch import judge
from tl_core.cli.asked import suggested
from tl_core.cli.train import seconds
from tl_core.documents.events import EpochEnded, Event, StageStarted
from tl_core.documents.spec import TrainSpec
from tl_core.errors import SpecError
from tl_core.models.registry import Network, networks
from tl_core.runs.ingest_job import ingest_job
from tl_core.runs.race_job import race_job
from tl_core.runs.store.folders import RunFolder
from tl_core.runs.store.store import Store
from tl_core.training.strategies.strategies import strategy


def _contestant(run: RunFolder) -> Generator[Event, None, None]:
    """A head that is right about nine of ten, and stages that are not."""
    yield StageStarted(stage="training", title="Training")
    if run.spec().strategy == "feature_extraction":
        judge(run)
        return
    for epoch in range(1, 5):
        yield EpochEnded(
            epoch=epoch, epochs=4, train_loss=1, train_accuracy=0, val_loss=1, val_accuracy=0.0, learning_rate=1, best=True
        )  # fmt: skip


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    executor = InProcess({"ingest": ingest_job, "race": partial(race_job, train=_contestant)})
    monkeypatch.setattr("tl_core.runs.process.executor.chosen", lambda: executor)


@pytest.mark.usefixtures("here")
def test_a_race_prints_its_leaderboard(trained: Trained, terminal: Terminal) -> None:
    words = [
        "race",
        str(trained.data),
        "--strategies",
        "full_fine_tuning,feature_extraction",
        "--budget",
        "100h",
        "--seed",
        "3",
    ]
    found = terminal.json(*words)
    first, second = found["rows"]
    assert (found["budget"], found["val_images"], found["test_images"]) == (360_000, 9, 9)
    assert (first["strategy"], first["state"], first["val_accuracy"], first["test_accuracy"]) == (
        "feature_extraction",
        "done",
        0.9,
        1.0,
    )
    assert RunFolder(Path(first["run_dir"])).report().test.accuracy == 1.0
    said = "Stopped after epoch 2 of 4: at best 0% on 9 validation pictures, where the leader has 90%."
    assert found["first_against"] == [], "the other one has no answers to the test"
    assert (second["state"], second["reason"], second["epochs"], second["test_accuracy"]) == ("stopped", said, 2, None)
    out = terminal.out(*words)
    assert f"full_fine_tuning on efficientnet_lite0: {said}" in out
    assert "9 validation pictures, which chose" in out


def test_what_is_wrong_with_a_race_is_said_at_once(trained: Trained, store: Path, terminal: Terminal) -> None:
    words = ["--strategies", "lp_ftt,feature_extraction,lora", "--budget", "0s"]
    said = terminal.json("race", trained.data, *words, code=2)["error"]["message"]
    assert "'lp_ftt'" in said
    assert "The budget of a race is 0\u202fs;" in said
    assert said.count("lora") >= 1
    assert "A race is of 2 to 20 runs, and this would be 1." in terminal.err(
        "race", str(trained.data), "--strategies", "lp_ft"
    )
    assert not list(store.glob("workspaces/*/*/*"))


def test_a_budget_is_read_as_people_write_it() -> None:
    assert [seconds(given) for given in ("90", "90s", "10m", " 1.5 min", "1h")] == [90, 90, 600, 90, 3600]
    for wrong in ("", "soon", "-1m", "10 weeks"):
        with pytest.raises(SpecError, match="is no time"):
            seconds(wrong)


pytestmark = pytest.mark.usefixtures("in_process")
AT_SIZE = ["--image-size", str(SIZE), "--seed", "3"]


def test_auto_says_at_the_end_what_it_took_and_why(cached: Path, tmp_path: Path, terminal: Terminal) -> None:
    words = ["train", str(cached), "--strategy", "auto", "--epochs", "1", "--weight-decay", "0.02"]
    said = terminal.out(*words, *AT_SIZE, "--out", tmp_path / "run")
    spec = RunFolder(tmp_path / "run").spec()
    assert spec.chosen_by == "auto"
    assert spec.strategy != "auto"
    assert (spec.epochs, spec.recipe.weight_decay) == (1, 0.02)
    assert spec.estimated_seconds is not None
    assert f"Strategy: {spec.strategy}. {spec.reason}" in said
    assert "42" in str(spec.reason)


def test_the_head_by_steps_names_what_has_no_effect_on_it(cached: Path, terminal: Terminal) -> None:
    words = ["train", str(cached), "--solver", "adam", "--epochs", "2", "--mixup", "0.1"]
    out, err = terminal.run([*words, *AT_SIZE, "--cutmix", "1", "--class-weights", "--json"], 0)
    result = json.loads(out)
    assert (result["strategy"], result["solver"], result["chosen_by"]) == ("feature_extraction", "adam", "default")
    assert "epoch 2 of 2" in err
    assert "Without effect on feature_extraction as it is trained here: cutmix." in err
    spec = RunFolder(Path(result["run_dir"])).spec()
    assert (spec.recipe.mixup, spec.recipe.class_weights) == (0.1, True)


def test_a_learning_rate_is_found_and_nothing_is_left_behind(cached: Path, store: Path, terminal: Terminal) -> None:
    assert "auto" in terminal.err("find-rate", str(cached), "--strategy", "auto")
    lines = terminal.out("find-rate", str(cached), *AT_SIZE).splitlines()
    assert len(lines) > 10
    suggested = re.fullmatch(r"Suggested: --solver adam --learning-rate (\S+)", lines[-1])
    assert suggested is not None
    assert 1e-6 < float(suggested[1]) < 1
    assert not list(store.glob("workspaces/*/*/*"))


def test_the_rate_of_stages_is_suggested_in_the_proportion_that_was_tried() -> None:
    spec = TrainSpec(name="a", workspace="", dataset="", weights="IMAGENET1K", image_size=224)
    for name in ("full_fine_tuning", "lp_ft"):
        recipe = strategy(name).recipe
        words = suggested(spec.model_copy(update={"strategy": name, "recipe": recipe}), 0.006).split()
        assert words[:2] == ["--strategy", name]
        told = dict(zip(words[2::2], map(float, words[3::2]), strict=True))
        assert told == {
            "--learning-rate": 0.006,
            "--stage-rate": pytest.approx(0.006 * recipe.stage_rate / recipe.learning_rate),
        }


def test_a_network_that_only_timm_knows_is_looked_up_and_trained_in_one_command(
    store: Path, picture_folder: PictureFolder, terminal: Terminal
) -> None:
    words = ["train", str(picture_folder({"a": 8, "b": 8})), "--backbone", "test_efficientnet"]
    result = terminal.json(*words, "--strategy", "from_scratch", "--epochs", "1", "--image-size", "32")
    assert (result["backbone"], result["strategy"]) == ("test_efficientnet", "from_scratch")
    workspace = Store(store).command_line_workspace()
    assert workspace.tasks() == []
    assert len(workspace.runs()) == 1
    assert len(terminal.json("predict", result["run_dir"], str(picture_folder({"a": 8, "b": 8}) / "a"))) == 8


def test_what_timm_does_not_know_either_is_said_with_what_is_near(terminal: Terminal) -> None:
    said = terminal.err("describe", "resnet5000")
    assert "resnet50" in said
    assert "timm has no network called 'resnet5000'" in said
    assert "There is no backbone called" in terminal.err("describe", "../../etc/passwd")


SMALLEST = 64
"""Pixels: a map of more than one position, in little time."""
MANY_PARAMETERS = 300_000_000
"""From here on, weights, gradients and AdamW's two averages take more than the 6 GB that a small machine has."""


def _cheapest_of_each_family() -> dict[str, Network]:
    found: dict[str, Network] = {}
    for row in networks().values():
        if row.family not in found or row.gflops < found[row.family].gflops:
            found[row.family] = row
    return found


CHEAPEST = _cheapest_of_each_family()


def _size(row: Network) -> int:
    if row.fixed_size:
        return row.weights_row().input_size
    return -(-max(SMALLEST, row.smallest_size) // row.size_step) * row.size_step


@pytest.mark.slow
@pytest.mark.parametrize("family", CHEAPEST)
def test_trains_exports_and_predicts(
    family: str, picture_folder: PictureFolder, tmp_path: Path, terminal: Terminal
) -> None:
    row = CHEAPEST[family]
    if row.parameters > MANY_PARAMETERS:
        pytest.skip(
            f"{row.name} has {row.parameters / 1e6:.0f} million parameters, which is too much for a small machine."
        )
    data, run, bundle = picture_folder({"cat": 8, "dog": 8}), tmp_path / "run", tmp_path / "bundle.zip"
    words = ["--backbone", row.name, "--strategy", "from_scratch", "--epochs", "1", "--image-size", str(_size(row))]
    assert terminal.json("train", data, *words, "--out", run)["backbone"] == row.name
    terminal.out("export", run, "--out", bundle)
    (answer,) = terminal.json("predict", str(bundle), str(data / "cat" / "000.jpg"))
    assert {entry["label"] for entry in answer["top"]} == {"cat", "dog"}
    assert sum(entry["probability"] for entry in answer["top"]) == pytest.approx(1, abs=1e-4)
