"""A strategy's recipe on one network."""

from __future__ import annotations

import pytest

from tl_core.models.registry import network
from tl_core.training.strategies.strategies import WITHOUT_BATCH_NORM, strategy, tuned


@pytest.mark.parametrize("name", ["vit_b_16", "convnext_tiny", "vgg11", "vit_small_patch14_dinov2.lvd142m"])
def test_networks_without_batch_norm_take_smaller_steps(name: str) -> None:
    row = strategy("full_fine_tuning")
    found = tuned(row, network(name.partition(".")[0]))
    assert found.recipe.stage_rate == pytest.approx(row.recipe.stage_rate * WITHOUT_BATCH_NORM)
    assert found.recipe.learning_rate == row.recipe.learning_rate


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet50", "vgg11_bn"])
def test_networks_with_batch_norm_take_the_rows_own(name: str) -> None:
    row = strategy("full_fine_tuning")
    assert tuned(row, network(name)) == row


@pytest.mark.parametrize("name", ["lora", "bias_and_norm", "feature_extraction"])
def test_small_updates_learn_at_the_same_rate_everywhere(name: str) -> None:
    assert tuned(strategy(name), network("vit_b_16")) == strategy(name)
