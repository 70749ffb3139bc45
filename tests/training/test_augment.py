"""Augmentation: each picture its own change, the same change for the same seed, nothing out of range, no mirror images."""

from __future__ import annotations

import pytest
import torch

from tl_core.training.augment import augment
from tl_core.training.strategies import Level


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _pictures(count: int = 8) -> torch.Tensor:
    one = torch.zeros(48, 48, 3, dtype=torch.uint8)
    one[8:40, 10:20] = torch.tensor([220, 40, 60], dtype=torch.uint8)
    return one.expand(count, -1, -1, -1).clone()


@pytest.mark.parametrize("level", ["light", "strong"])
def test_two_equal_pictures_of_a_batch_come_out_different(level: Level) -> None:
    changed = augment(_pictures(2), level, _generator())
    assert (changed[0] - changed[1]).abs().mean() > 1


@pytest.mark.parametrize("level", ["none", "light", "strong"])
def test_shape_and_range_stay(level: Level) -> None:
    changed = augment(_pictures(), level, _generator())
    assert changed.shape == (8, 48, 48, 3)
    assert changed.dtype == torch.float32
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_none_changes_nothing() -> None:
    assert torch.equal(augment(_pictures(), "none", _generator()), _pictures().float())


def test_same_seed_same_pictures() -> None:
    assert torch.equal(augment(_pictures(), "light", _generator(3)), augment(_pictures(), "light", _generator(3)))
    assert not torch.equal(augment(_pictures(), "light", _generator(3)), augment(_pictures(), "light", _generator(4)))


def test_light_never_mirrors() -> None:
    """The bar left of the middle stays there in every copy: a 6 or a letter must not become another."""
    changed = augment(_pictures(200), "light", _generator())
    reds = changed[..., 0] - changed[..., 1]
    assert (reds[:, :, :24].sum(dim=(1, 2)) > reds[:, :, 24:].sum(dim=(1, 2))).all()


def test_more_is_more() -> None:
    light, strong = (augment(_pictures(64), level, _generator()) for level in ("light", "strong"))  # type: ignore[arg-type]
    plain = _pictures(64).float()
    assert (strong - plain).abs().mean() > (light - plain).abs().mean() > 0
