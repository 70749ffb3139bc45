"""The table of strategies, and what is proposed on which machine."""

import pytest

from tl_core.errors import UnknownName
from tl_core.models.registry import network
from tl_core.training.strategies.strategies import (
    WITHOUT_BATCH_NORM,
    frozen_stages,
    misfit,
    stage_rates,
    strategies,
    strategy,
    tuned,
)

ALL = (
    "feature_extraction",
    "partial_fine_tuning",
    "full_fine_tuning",
    "lp_ft",
    "discriminative_lr",
    "gradual_unfreezing",
    "surgical",
    "bias_and_norm",
    "lora",
    "from_scratch",
)


def test_every_strategy_is_listed_with_epochs_and_a_description() -> None:
    assert tuple(strategies()) == ALL
    for row in strategies().values():
        assert row.epochs > 0
        assert row.description.endswith(".")
        assert row.pretrained or row.head_start == "new", "a head is fitted on features that mean something"


def test_an_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(UnknownName, match=r"'magic'.*feature_extraction, partial_fine_tuning, full_fine_tuning"):
        strategy("magic")


@pytest.mark.parametrize(
    ("name", "last", "frozen"),
    [
        ("feature_extraction", 2, 9),
        ("partial_fine_tuning", 2, 7),
        ("partial_fine_tuning", 99, 0),
        ("full_fine_tuning", 2, 0),
        ("gradual_unfreezing", 2, 9),
        ("surgical", 2, 0),
    ],
)
def test_a_strategy_freezes_the_stages_that_it_says(name: str, last: int, frozen: int) -> None:
    assert frozen_stages(strategy(name), 9, last) == frozen


def test_rates_fall_from_the_last_stage_to_the_stem() -> None:
    row = strategy("discriminative_lr")
    rate, decay = row.recipe.stage_rate, row.recipe.rate_decay
    assert decay < 1
    assert stage_rates(row, 4, 2) == pytest.approx([rate * decay**3, rate * decay**2, rate * decay, rate])
    assert stage_rates(row, 2, 2, recipe=row.recipe.changed({"stage_rate": 1, "rate_decay": 0.5})) == (0.5, 1)


def test_stages_that_never_learn_have_no_rate() -> None:
    assert stage_rates(strategy("feature_extraction"), 3, 2) == (None, None, None)
    rate = strategy("partial_fine_tuning").recipe.stage_rate
    assert stage_rates(strategy("partial_fine_tuning"), 3, 1) == (None, None, rate)
    rate = strategy("surgical").recipe.stage_rate
    assert stage_rates(strategy("surgical"), 3, 2, learning=(1,)) == (None, rate, None)
    assert None not in stage_rates(strategy("gradual_unfreezing"), 3, 2)


def test_what_does_not_fit_a_backbone_says_why() -> None:
    resnet = network("resnet18")
    assert [row.name for row in strategies().values() if misfit(row, resnet, 2)] == ["lora"]
    assert "needs a transformer" in str(misfit(strategy("lora"), resnet, 2))
    assert "has 5. Choose 1 to 5" in str(misfit(strategy("partial_fine_tuning"), resnet, 6))
    whole = resnet.model_copy(update={"stages": ("all",)})
    for name in ("surgical", "gradual_unfreezing"):
        assert "seen as one" in str(misfit(strategy(name), whole, 1))


@pytest.mark.parametrize(
    ("name", "backbones", "factor"),
    [
        ("full_fine_tuning", ("vit_b_16", "convnext_tiny", "vgg11", "vit_small_patch14_dinov2"), WITHOUT_BATCH_NORM),
        ("full_fine_tuning", ("efficientnet_lite0", "resnet50", "vgg11_bn"), 1.0),
        ("lora", ("vit_b_16",), 1.0),
        ("bias_and_norm", ("vit_b_16",), 1.0),
        ("feature_extraction", ("vit_b_16",), 1.0),
    ],
)
def test_whole_stages_of_networks_without_batch_norm_take_smaller_steps(
    name: str, backbones: tuple[str, ...], factor: float
) -> None:
    recipe = strategy(name).recipe
    smaller = recipe.changed({"stage_rate": recipe.stage_rate * factor})
    assert {tuned(strategy(name), network(backbone)).recipe == smaller for backbone in backbones} == {True}
