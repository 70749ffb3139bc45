"""Augmentation: each picture its own change, the same change for the same seed, nothing out of range, no mirror images."""

import itertools

import pytest
import torch

from tl_core.documents.options import Level
from tl_core.evaluation.corruptions import CORRUPTIONS
from tl_core.training.loop.augment import LEVELS, augment, view


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _pictures(count: int = 8) -> torch.Tensor:
    one = torch.zeros(48, 48, 3, dtype=torch.uint8)
    one[8:40, 10:20] = torch.tensor([220, 40, 60], dtype=torch.uint8)
    return one.expand(count, -1, -1, -1).clone()


@pytest.mark.parametrize("name", [row.augmentation for row in CORRUPTIONS.values() if row.augmentation])
def test_what_a_corruption_says_of_augmentation_is_a_range_of_every_level(name: str) -> None:
    ranges = [getattr(LEVELS[level], name) for level in ("light", "medium", "strong")]
    assert 0 < ranges[0] < ranges[1] < ranges[2]


@pytest.mark.parametrize("level", ["light", "medium", "strong"])
def test_two_equal_pictures_of_a_batch_come_out_different(level: Level) -> None:
    changed = augment(_pictures(2), level, _generator())
    assert (changed[0] - changed[1]).abs().mean() > 1


@pytest.mark.parametrize("level", ["none", "light", "medium", "strong"])
def test_augmented_pictures_keep_their_shape_and_range(level: Level) -> None:
    changed = augment(_pictures(), level, _generator())
    assert changed.shape == (8, 48, 48, 3)
    assert changed.dtype == torch.float32
    assert changed.min() >= 0
    assert changed.max() <= 255


def test_without_augmentation_pictures_are_as_they_were() -> None:
    assert torch.equal(augment(_pictures(), "none", _generator()), _pictures().float())


def test_the_same_seed_augments_alike() -> None:
    assert torch.equal(augment(_pictures(), "light", _generator(3)), augment(_pictures(), "light", _generator(3)))
    assert not torch.equal(augment(_pictures(), "light", _generator(3)), augment(_pictures(), "light", _generator(4)))


@pytest.mark.parametrize("level", ["light", "medium", "strong"])
def test_no_augmentation_mirrors_a_picture(level: Level) -> None:
    """The bar left of the middle stays there in every copy: a 6 or a letter must not become another."""
    changed = augment(_pictures(200), level, _generator())
    reds = changed[..., 0] - changed[..., 1]
    assert (reds[:, :, :24].sum(dim=(1, 2)) > reds[:, :, 24:].sum(dim=(1, 2))).all()


def test_each_level_changes_more_than_the_one_before() -> None:
    plain = _pictures(128).float()
    changes = [float((augment(_pictures(128), level, _generator()) - plain).abs().mean()) for level in LEVELS]
    assert next(iter(LEVELS)) == "none"
    assert changes[0] == 0
    assert all(more > 1.2 * less for less, more in itertools.pairwise(changes))


def test_only_strong_hides_a_patch_and_not_in_every_picture() -> None:
    noise = torch.randint(0, 256, (200, 48, 48, 3), dtype=torch.uint8, generator=_generator())

    def flat(level: Level) -> torch.Tensor:
        """Share of each picture's places that look exactly like the place to their right."""
        changed = augment(noise, level, _generator())
        return (changed[:, :, 1:] == changed[:, :, :-1]).all(dim=3).float().mean(dim=(1, 2))

    assert flat("medium").max() < 0.02
    hidden = flat("strong") > 0.02
    assert 0.35 < hidden.float().mean() < 0.65
    assert flat("strong").max() < 0.25


def test_a_view_is_the_same_whichever_pictures_come_with_it() -> None:
    all_together = view(_pictures(4), "medium", number=2, seed=5, rows=[10, 11, 12, 13])
    alone = view(_pictures(1), "medium", number=2, seed=5, rows=[12])
    assert torch.allclose(all_together[2], alone[0], atol=1e-3)
    assert (all_together[0] - all_together[1]).abs().mean() > 1
    for other in ({"number": 3}, {"seed": 6}, {"rows": [13]}):
        changed = view(_pictures(1), "medium", **{"number": 2, "seed": 5, "rows": [12], **other})  # type: ignore[arg-type]
        assert (changed[0] - alone[0]).abs().mean() > 1
    assert torch.equal(view(_pictures(2), "strong", number=0, seed=5, rows=[0, 1]), _pictures(2).float())
