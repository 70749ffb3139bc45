"""Estimates order strategies, machines and sizes as they are, and read like a sentence."""

import pytest

from tl_core.documents.spec import TrainSpec
from tl_core.models.registry import Network, network, networks
from tl_core.training.speed import estimate as table
from tl_core.training.speed.estimate import HELD_OUT, Estimate, Kept, estimate, forward_seconds, memory_warning
from tl_core.training.strategies.strategies import Setup, Strategy, strategies, strategy

NOTHING = Kept(pixels=False, features=False)


def said(network: Network, strategy: Strategy, images: int, kept: Kept = NOTHING, **changed: object) -> Estimate:
    """The estimate of a run with the strategy's own settings, but for `changed`."""
    return estimate(run_of(network, strategy, **changed), images=images, classes=10, kept=kept)


def run_of(network: Network, strategy: Strategy, **changed: object) -> Setup:
    weights = network.weights_row()
    plain = {
        "name": "",
        "workspace": "",
        "dataset": "",
        "backbone": network.name,
        "weights": weights.name,
        "strategy": strategy.name,
    }
    values = {"image_size": weights.input_size, "device": "cpu", "batch_size": 16, "micro_batch": 16}
    own = {"epochs": strategy.epochs, "recipe": strategy.recipe}
    return Setup.of(TrainSpec.model_validate({**plain, **values, **own, **changed}))


@pytest.mark.parametrize("name", list(networks()))
def test_every_network_and_strategy_has_an_estimate(name: str) -> None:
    for row in strategies().values():
        found = said(network(name), row, images=600)
        assert 0 < found.low < found.high < 7 * 24 * 3600
        assert found.high <= 3.0001 * found.low
        assert 200 < found.memory_mb < 200_000


def test_more_epochs_more_pictures_or_more_stages_are_estimated_longer() -> None:
    lite = network("efficientnet_lite0")
    wanted = ("feature_extraction", "partial_fine_tuning", "full_fine_tuning")
    head, last, whole = (said(lite, strategy(name), images=600).high for name in wanted)
    assert head < last < whole
    one = strategy("full_fine_tuning")
    assert said(lite, one, images=600, epochs=1).high < whole
    assert said(lite, one, images=6000).high > 5 * whole
    assert said(lite, one, images=600, image_size=448).high > 2 * whole
    assert said(lite, one, images=6000, device="cuda").high < whole


def test_the_default_run_is_said_to_take_seconds() -> None:
    found = said(network("efficientnet_lite0"), strategy("feature_extraction"), images=600)
    assert str(found).endswith("seconds")


def test_what_an_earlier_run_left_takes_no_time_again() -> None:
    lite, head = network("efficientnet_lite0"), strategy("feature_extraction")
    cold, decoded, known = (
        said(lite, head, images=2000, kept=Kept(*left, backbone=True)).high
        for left in ((False, False), (True, False), (True, True))
    )
    assert cold > decoded > known
    assert known < cold / 3


@pytest.mark.parametrize("name", ["lp_ft", "full_fine_tuning"])
def test_a_gpu_is_expected_to_answer_the_held_out_pictures_and_to_need_no_exported_backbone(name: str) -> None:
    vit, row = network("vit_b_16"), strategy(name)
    on_gpu, on_cpu = (said(vit, row, images=10_000, device=device).stages for device in ("cuda", "cpu"))
    judged = HELD_OUT * 10_000 * forward_seconds(vit, 224, "cuda")
    a_picture = forward_seconds(vit, 224, "cpu")
    assert on_gpu["export"] == pytest.approx(table._EXPORT + judged)
    assert on_gpu["evaluation"] == pytest.approx(judged + 16 * a_picture)
    assert on_cpu["evaluation"] == pytest.approx(HELD_OUT * 10_000 * a_picture)
    few = said(vit, row, images=20, device="cuda").stages
    assert few["evaluation"] == pytest.approx(judged / 500 + 6 * a_picture)
    assert "backbone" not in on_gpu
    assert ("backbone" in on_cpu) == (row.head_start == "fitted")


def test_a_large_batch_on_a_gpu_needs_no_more_memory_because_fewer_pictures_go_together_where_it_does_not_fit() -> None:
    lite, row = network("efficientnet_lite0"), strategy("full_fine_tuning")
    needs = {
        (device, batch): said(lite, row, images=6000, device=device, batch_size=batch, micro_batch=batch).memory_mb
        for device in ("cuda", "cpu")
        for batch in (32, 256)
    }
    assert needs["cuda", 256] == needs["cuda", 32]
    assert needs["cpu", 256] != needs["cpu", 32]


def test_more_of_what_a_strategy_does_costs_more() -> None:
    lite, late = network("efficientnet_lite0"), strategy("partial_fine_tuning")
    views = late.recipe.changed({"augmentation": "light", "views": 8})
    assert said(lite, late, images=3000, recipe=views).high > said(lite, late, images=3000).high
    head = strategy("feature_extraction")
    assert said(lite, head, images=600, solver="adam").high > said(lite, head, images=600).high


@pytest.mark.parametrize("name", ["vit_base_patch16_clip_224", "vit_base_patch16_siglip_224", "deit_tiny_patch16_224"])
def test_a_transformer_is_expected_to_take_what_transformers_take_whatever_its_familys_name(name: str) -> None:
    """The first estimate of CLIP, SigLIP and DeiT was that of a network of convolutions: memory and speed were wrong."""
    other, known, row = network(name), network("vit_b_16"), strategy("full_fine_tuning")
    found, wanted = (table._step_seconds(run_of(one, row))[0] for one in (other, known))
    assert found == pytest.approx(other.gflops / known.gflops * wanted, rel=0.1)
    memory, wanted_memory = (table.memory_mb(run_of(one, row), 10) for one in (other, known))
    values, known_values = (
        sum(a * b for (a, b), _ in zip(one.stage_shapes[1:], range(12), strict=True)) for one in (other, known)
    )
    assert memory - 550 == pytest.approx((wanted_memory - 550) * values / known_values, rel=0.4)


def test_a_step_is_expected_to_take_memory_for_the_pictures_that_there_are() -> None:
    resnet, whole = network("resnet50"), strategy("full_fine_tuning")

    def memory(images: int) -> float:
        return said(resnet, whole, images=images, image_size=448).memory_mb

    assert memory(600) > 12_000
    assert memory(10) < 6_500, "7 of them train"


def test_what_does_not_fit_is_said_with_what_would() -> None:
    lite = network("efficientnet_lite0")
    whole = said(lite, strategy("full_fine_tuning"), images=600)
    assert memory_warning(whole, whole.memory_mb + 1) is None
    assert memory_warning(whole, None) is None
    assert memory_warning(said(lite, strategy("feature_extraction"), images=600), 4000) is None
    little = memory_warning(whole, whole.memory_mb - 1)
    assert little is not None
    assert "batch size of 8" in little
    less = memory_warning(whole, 1000)
    assert less is not None
    assert "Head only" in less or "batch size" in less
    nothing = memory_warning(whole, 10)
    assert nothing is not None
    assert "another machine" in nothing


def test_a_heavy_backbone_is_answered_with_the_default_one() -> None:
    heavy = network("vit_b_16")
    found = said(heavy, strategy("full_fine_tuning"), images=600)
    words = list(found.lighter)
    assert any("efficientnet_lite0" in one for one in words)
    assert not any("image size" in one for one in words), "it takes one size only"


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (12.2, 33.0, "10 to 35 seconds"),
        (61.0, 200.0, "1 to 3 minutes"),
        (100.0, 100.0, "about 2 minutes"),
        (4000.0, 9000.0, "1 to 2 hours"),
        (50.0, 91.0, "1 to 2 minutes"),
    ],
)
def test_an_estimate_is_written_as_people_say_it(low: float, high: float, text: str) -> None:
    assert str(Estimate(low, high)) == text
