"""Every row of the taught rule, where it needs to know whether pictures are similar, and backbones that it does not fit."""

import pytest

from tl_core.documents.tasks import RankedBackbone, Ranking
from tl_core.models.registry import network
from tl_core.training.strategies.advice import RULE, Advice, advise, auto_says, default_strategy, needs_similarity
from tl_core.training.strategies.strategies import strategies

LITE = network("efficientnet_lite0")


@pytest.mark.parametrize(
    ("images", "similar", "strategy", "words"),
    [
        (10, True, "feature_extraction", "frozen"),
        (999, True, "feature_extraction", "999"),
        (999, False, "partial_fine_tuning", "small learning rate"),
        (1_000, True, "partial_fine_tuning", "similar or not"),
        (1_000, False, "partial_fine_tuning", "1,000"),
        (10_000, None, "partial_fine_tuning", "10,000"),
        (10_001, False, "full_fine_tuning", "whole network"),
        (200_000, True, "full_fine_tuning", "many"),
    ],
)
def test_advice_fits_how_many_and_how_similar_the_pictures_are(
    images: int, similar: bool | None, strategy: str, words: str
) -> None:
    advice = advise(images, similar, LITE)
    assert advice.strategy == strategy
    assert words in advice.reason
    assert strategy not in {other.strategy for other in advice.alternatives}
    assert advice.alternatives


def test_the_rule_covers_every_size_once() -> None:
    assert sorted((row.band, str(row.similar)) for row in RULE) == [
        ("large", "None"),
        ("medium", "None"),
        ("small", "False"),
        ("small", "True"),
    ]
    assert [needs_similarity(images) for images in (5, 999, 1_000, 10_000, 10_001)] == [True, True, False, False, False]
    assert "discriminative_lr" in _others(advise(5_000, None, LITE))
    assert "from_scratch" in _others(advise(50_000, None, LITE))


def test_not_measured_yet_is_said_with_both_ways() -> None:
    advice = advise(300, None, LITE)
    assert advice.strategy is None
    assert _others(advice) == ["feature_extraction", "partial_fine_tuning"]
    assert "Head only" in advice.reason
    assert "Last stages" in advice.reason
    assert "measured" in advice.reason


def test_a_strategy_that_does_not_fit_gives_way_and_says_why() -> None:
    whole = LITE.model_copy(
        update={
            "stages": ("all",),
            "stage_parameters": (LITE.backbone_parameters,),
            "stage_gflops": (sum(LITE.stage_gflops),),
            "stage_shapes": (LITE.stage_shapes[-1],),
        }
    )
    advice = advise(300, False, whole)
    assert advice.strategy in {"lp_ft", "feature_extraction"}
    assert "does not fit here" in advice.reason
    assert advice.strategy not in _others(advice)


def test_a_ranking_of_the_same_pictures_answers_for_the_backbones_in_it() -> None:
    row = RankedBackbone(
        backbone=LITE.name, weights="w", accuracy=0.5, interval=(0.4, 0.6), logme=-0.4, similar=False, seconds=1.0
    )
    ranking = Ranking(images=300, classes=2, rows=(row,))
    assert auto_says(300, ranking, LITE).strategy == "partial_fine_tuning"
    assert auto_says(300, ranking, network("resnet18")).strategy is None
    assert auto_says(300, None, LITE).strategy is None
    assert auto_says(3_000, None, LITE).strategy == "partial_fine_tuning"


@pytest.mark.parametrize("images", [30, 1_000, 100_000])
def test_a_processor_gets_the_fitted_head_whatever_the_size(images: int) -> None:
    choice = default_strategy("cpu", images)
    assert choice.name == "feature_extraction"
    assert choice.longer == "partial_fine_tuning"
    assert "without a GPU" in choice.reason


@pytest.mark.parametrize("device", ["cuda", "mps"])
@pytest.mark.parametrize("images", [50, 500, 999, 1_000, 10_000, 10_001, 20_000])
def test_a_gpu_is_proposed_what_the_rule_takes(device: str, images: int) -> None:
    """It was the last stages from 200 pictures and the whole network from 2,000, against the rule on the Ideas page."""
    choice = default_strategy(device, images)  # type: ignore[arg-type]
    if needs_similarity(images):
        assert choice.name == "feature_extraction"
        assert choice.name == advise(images, True, LITE).strategy
        assert "not looked at" in choice.reason
    else:
        assert choice.name == advise(images, None, LITE).strategy
    assert choice.longer != choice.name


def _others(advice: Advice) -> list[str]:
    names = [other.strategy for other in advice.alternatives]
    assert set(names) <= set(strategies())
    return names
