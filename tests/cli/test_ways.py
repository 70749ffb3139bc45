"""Ways to train through the command line: by the rule, by steps, and with a network that only timm knows."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.conftest import SIZE
from tests.conftest import PictureFolder
from tl_core.cli import main
from tl_core.cli.asked import suggested
from tl_core.documents.spec import TrainSpec
from tl_core.runs.store.folders import RunFolder
from tl_core.runs.store.store import Store
from tl_core.training.strategies.strategies import strategy

pytestmark = pytest.mark.usefixtures("in_process")
AT_SIZE = ["--image-size", str(SIZE), "--seed", "3"]


def test_auto_says_at_the_end_what_it_took_and_why(
    cached: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(cached), "--strategy", "auto", "--epochs", "1", "--weight-decay", "0.02"]
    assert main([*words, *AT_SIZE, "--out", str(tmp_path / "run")]) == 0
    spec = RunFolder(tmp_path / "run").spec()
    assert spec.chosen_by == "auto"
    assert spec.strategy != "auto"
    assert (spec.epochs, spec.recipe.weight_decay) == (1, 0.02)
    assert spec.estimated_seconds is not None
    said = capsys.readouterr().out
    assert f"Strategy: {spec.strategy}. {spec.reason}" in said
    assert "42" in str(spec.reason)


def test_the_head_by_steps_names_what_has_no_effect_on_it(cached: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", str(cached), "--solver", "adam", "--epochs", "2", "--mixup", "0.1"]
    assert main([*words, *AT_SIZE, "--cutmix", "1", "--class-weights", "--json"]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert (result["strategy"], result["solver"], result["chosen_by"]) == ("feature_extraction", "adam", "default")
    assert "epoch 2 of 2" in err
    assert "Without effect on feature_extraction as it is trained here: cutmix." in err
    spec = RunFolder(Path(result["run_dir"])).spec()
    assert (spec.recipe.mixup, spec.recipe.class_weights) == (0.1, True)


def test_a_learning_rate_is_found_and_nothing_is_left_behind(
    cached: Path, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["find-rate", str(cached), "--strategy", "auto"]) == 2
    assert "auto" in capsys.readouterr().err
    assert main(["find-rate", str(cached), *AT_SIZE]) == 0
    lines = capsys.readouterr().out.splitlines()
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
    store: Path, picture_folder: PictureFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", str(picture_folder({"a": 8, "b": 8})), "--backbone", "test_efficientnet"]
    assert main([*words, "--strategy", "from_scratch", "--epochs", "1", "--image-size", "32", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["backbone"], result["strategy"]) == ("test_efficientnet", "from_scratch")
    workspace = Store(store).command_line_workspace()
    assert workspace.tasks() == []
    assert len(workspace.runs()) == 1
    assert main(["predict", result["run_dir"], str(picture_folder({"a": 8, "b": 8}) / "a"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 8


def test_what_timm_does_not_know_either_is_said_with_what_is_near(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["describe", "resnet5000"]) == 2
    said = capsys.readouterr().err
    assert "resnet50" in said
    assert "timm has no network called 'resnet5000'" in said
    assert main(["describe", "../../etc/passwd"]) == 2
    assert "There is no backbone called" in capsys.readouterr().err
