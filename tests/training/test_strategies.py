"""The table of strategies, and what is proposed on which machine."""

from __future__ import annotations

import pytest

from tl_core.errors import UnknownName
from tl_core.training.strategies import default_strategy, frozen_stages, strategies, strategy


def test_the_table() -> None:
    assert list(strategies()) == ["feature_extraction", "partial_fine_tuning", "full_fine_tuning"]
    for row in strategies().values():
        assert row.takes_steps == (row.epochs > 0) == (row.head_rate > 0)
        assert row.description.endswith(").")


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
    ],
)
def test_what_stays_frozen(name: str, last: int, frozen: int) -> None:
    assert frozen_stages(strategy(name), 9, last) == frozen


@pytest.mark.parametrize("images", [30, 1_000, 100_000])
def test_a_processor_gets_the_fitted_head_whatever_the_size(images: int) -> None:
    choice = default_strategy("cpu", images)
    assert choice.name == "feature_extraction"
    assert choice.longer == "partial_fine_tuning"
    assert "GPU" in choice.reason


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_gpu_follows_the_number_of_images(device: str) -> None:
    names = [default_strategy(device, images).name for images in (50, 1_000, 20_000)]  # type: ignore[arg-type]
    assert names == ["feature_extraction", "partial_fine_tuning", "full_fine_tuning"]
