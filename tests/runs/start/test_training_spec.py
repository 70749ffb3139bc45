"""The options of a run: all that is wrong in one sentence after the other, and the spec that right ones come to."""

from typing import Any

import pytest

from tests.runs.conftest import HERE
from tests.runs.executors import by
from tl_core.documents.options import Recipe, TrainingOptions
from tl_core.errors import GraftError, SpecError, UnknownName
from tl_core.models.registry import network
from tl_core.runs.start import jobs
from tl_core.runs.start.training_spec import problems, setup_of, training_options, without_effect
from tl_core.runs.store.folders import DatasetFolder
from tl_core.runs.store.store import Workspace
from tl_core.runs.train.plan import settled
from tl_core.training.strategies.strategies import strategies, strategy

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
    options = {name: value for name, (value, _) in WRONG.items()}
    with pytest.raises(SpecError) as caught:
        by(HERE, jobs.submit_training, workspace, dataset, **options)
    for _, part in WRONG.values():
        assert part in caught.value.message
    assert "  " not in caught.value.message
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


def test_an_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(UnknownName, match=r"feature_extraction.*lora.*auto"):
        training_options({"strategy": "luck"})
    with pytest.raises(UnknownName, match="resnet18"):
        training_options({"backbone": "resnet19"})


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
    wrong = TrainingOptions(backbone="vit_b_16", weights="finest", image_size=100)
    assert [("finest" in each.message, "not 100" in each.message) for each in problems(wrong)] == [
        (True, False),
        (False, True),
    ]
    (only,) = problems(TrainingOptions(backbone="vit_b_16", weights="finest", image_size=384))
    assert "finest" in only.message


def test_a_spec_has_the_row_s_recipe_with_what_the_user_changed(dataset: DatasetFolder) -> None:
    options = TrainingOptions(strategy="lp_ft", device="cpu", recipe={"mixup": 0.2, "views": 2})
    setup = setup_of(options, dataset)
    spec = setup.spec
    row = strategy("lp_ft")
    assert spec.recipe == row.recipe.changed({"mixup": 0.2, "views": 2})
    assert spec.recipe.learning_rate == row.recipe.learning_rate != Recipe().learning_rate
    assert spec.epochs == row.epochs
    assert (spec.chosen_by, spec.reason) == ("user", None)
    assert spec.weights == network(spec.backbone).default_weights
    assert spec.changes == {"mixup": 0.2, "views": 2}
    assert without_effect(setup) == []


def test_a_run_asked_for_with_auto_is_made(workspace: Workspace, dataset: DatasetFolder) -> None:
    run = by(HERE, jobs.submit_training, workspace, dataset, strategy="auto", name="half second", device="cpu")
    assert run.spec().strategy == "auto"
    assert workspace.runs() == [run]


def test_more_stages_than_there_are_is_never_the_default() -> None:
    for row in strategies().values():
        found = [problem.message for problem in problems(TrainingOptions(strategy=row.name))]
        assert all("transformer" in message for message in found)


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
