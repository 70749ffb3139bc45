"""Each corruption keeps the form of a picture, is the same for the same seed, changes more at each strength, and adds no edge of its own."""

import numpy as np
import pytest
from numpy.typing import NDArray

from tl_core.evaluation.corruptions import CORRUPTIONS, Corruption, seed_of

SIDE = 96


def _photo() -> NDArray[np.uint8]:
    """Slow changes of colour from side to side, with a fine pattern over them."""
    across, down = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    fine = np.random.default_rng(0).integers(0, 60, (SIDE, SIDE))
    return np.stack([2 * across, 2 * down, 120 + fine], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("corruption", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_a_stronger_one_changes_more_and_the_same_seed_gives_the_same_picture(corruption: Corruption) -> None:
    photo = _photo()
    changed = [corruption.apply(photo, strength, seed=7) for strength in range(3)]
    assert {(one.shape, one.dtype) for one in changed} == {(photo.shape, photo.dtype)}
    distances = [float(np.abs(one.astype(float) - photo).mean()) for one in changed]
    assert 0 < distances[0] < distances[1] < distances[2]
    assert all(np.array_equal(one, corruption.apply(photo, at, seed=7)) for at, one in enumerate(changed))
    assert np.array_equal(photo, _photo()), "the picture itself stays as it was"


@pytest.mark.parametrize("corruption", CORRUPTIONS.values(), ids=CORRUPTIONS)
def test_the_words_of_a_strength_hold_its_number(corruption: Corruption) -> None:
    assert [f"{number:g}" in corruption.said(at) for at, number in enumerate(corruption.strengths)] == [True] * 3
    assert corruption.axis == corruption.words.replace("{:g}", "…") != corruption.words


def test_what_is_left_to_chance_is_so_by_the_seed_alone() -> None:
    photo, by_chance = _photo(), []
    for name, corruption in CORRUPTIONS.items():
        made = {corruption.apply(photo, 1, seed).tobytes() for seed in range(8)}
        if len(made) > 1:
            by_chance.append(name)
    assert by_chance == ["noise", "rotation", "crop"]
    assert seed_of("0123456789abcdef" + "f" * 48) == 0x0123456789ABCDEF


@pytest.mark.parametrize("name", ["blur", "rotation", "crop"])
def test_nothing_from_beyond_the_edge_comes_into_the_picture(name: str) -> None:
    plain = np.full((SIDE, SIDE, 3), (200, 120, 40), dtype=np.uint8)
    for strength in range(3):
        assert np.array_equal(CORRUPTIONS[name].apply(plain, strength, seed=1), plain)


def test_a_rotation_turns_by_its_degrees_about_the_middle() -> None:
    bar = np.zeros((SIDE, SIDE, 3), dtype=np.uint8)
    bar[:, SIDE // 2 - 4 : SIDE // 2 + 4] = 255
    turned = CORRUPTIONS["rotation"].apply(bar, 2, seed=3)[..., 0].astype(float)
    across = np.arange(SIDE)
    high, low = SIDE // 4, 3 * SIDE // 4
    middles = [float((turned[row] * across).sum() / turned[row].sum()) for row in (high, low)]
    degrees = np.degrees(np.arctan((middles[1] - middles[0]) / (low - high)))
    assert abs(degrees) == pytest.approx(CORRUPTIONS["rotation"].strengths[2], abs=1)


def test_a_crop_at_a_stronger_one_lies_within_that_at_a_weaker_one() -> None:
    across, down = np.meshgrid(np.arange(SIDE), np.arange(SIDE))
    places = np.stack([2 * across, 2 * down, np.zeros_like(across)], axis=-1).astype(np.uint8)
    for seed in range(4):
        corners = []
        for strength in range(3):
            kept = CORRUPTIONS["crop"].apply(places, strength, seed)[..., :2].astype(float) / 2
            corners.append((kept.min(axis=(0, 1)), kept.max(axis=(0, 1))))
            sides = corners[-1][1] - corners[-1][0]
            assert sides / SIDE * 100 == pytest.approx([CORRUPTIONS["crop"].strengths[strength]] * 2, abs=3)
        for (low, high), (lower, higher) in zip(corners[1:], corners, strict=False):
            assert (low >= lower - 1).all()
            assert (high <= higher + 1).all()


def test_a_stop_halves_or_doubles_the_light() -> None:
    def light(value: float) -> float:
        return float(((value / 255 + 0.055) / 1.055) ** 2.4)

    grey = np.full((8, 8, 3), 120, dtype=np.uint8)
    for name, way in (("darker", -1), ("brighter", 1)):
        corruption = CORRUPTIONS[name]
        for strength, stops in enumerate(corruption.strengths):
            changed = corruption.apply(grey, strength, seed=0)
            expected = min(1.0, light(120) * 2 ** (way * stops))
            assert light(float(changed.mean())) == pytest.approx(expected, rel=0.03)


def test_noise_has_its_deviation_and_grey_has_no_colour() -> None:
    grey = np.full((SIDE, SIDE, 3), 128, dtype=np.uint8)
    noise = CORRUPTIONS["noise"]
    for strength, deviation in enumerate(noise.strengths):
        assert noise.apply(grey, strength, seed=5).std() == pytest.approx(deviation, rel=0.05)
    assert CORRUPTIONS["grey"].strengths[2] == 100
    assert np.ptp(CORRUPTIONS["grey"].apply(_photo(), 2, seed=0), axis=2).max() == 0
