"""Pictures that show one thing are found by features, pixels and names together, and by none of them alone."""

import io
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from tests.data.work import finish, scene
from tl_core.data.groups import find_groups
from tl_core.documents.events import Progress
from tl_core.documents.manifest import ImageEntry

SIDE = 112


def jpeg(image: Image.Image) -> Image.Image:
    written = io.BytesIO()
    image.save(written, "JPEG", quality=40)
    return Image.open(written).convert("RGB")


def turned(image: Image.Image) -> Image.Image:
    return image.rotate(15, Image.Resampling.BICUBIC)


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "turned": turned,
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "cut": lambda image: image.crop((40, 10, 40 + 256, 10 + 192)),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.2),
    "darker": lambda image: ImageEnhance.Brightness(image).enhance(0.6),
    "written badly": jpeg,
    "turned and mirrored": lambda image: ImageOps.mirror(turned(image)),
}


def found(
    pictures: Sequence[Image.Image],
    features: NDArray[np.float64],
    names: Sequence[str] | None = None,
    labels: Sequence[int] | None = None,
) -> list[int]:
    entries = [
        ImageEntry(
            sha256=f"{row:064x}", label=labels[row] if labels else 0, name=names[row] if names else f"{row * row:05}-x.jpg", file="",
            width=picture.width, height=picture.height,
        )
        for row, picture in enumerate(pictures)
    ]  # fmt: skip
    pixels = np.stack([np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR)) for picture in pictures])
    events, groups = finish(find_groups(entries, features, pixels))
    assert isinstance(events[-1], Progress)
    assert (events[-1].done, events[-1].total) == (len(pictures), len(pictures))
    return groups.tolist()


def apart(count: int) -> NDArray[np.float64]:
    """Features of things that are alike: cosines of 0.8."""
    return np.sqrt(0.8) * np.eye(count + 1)[0] + np.sqrt(0.2) * np.eye(count + 1)[1:]


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_among_pictures_whose_features_are_as_near(change: str) -> None:
    pictures = [*(scene(number) for number in range(6)), CHANGES[change](scene(2))]
    assert found(pictures, apart(7)) == [-1, -1, 0, -1, -1, -1, 0]


@pytest.mark.parametrize("size", [(60, 1400), (1400, 60), (20, 900)])
def test_two_shots_of_a_long_strip_are_found_among_other_pictures(size: tuple[int, int]) -> None:
    strip = scene(3).resize(size)
    pictures = [scene(0), strip, jpeg(strip), scene(1)]
    assert found(pictures, apart(4)) == [-1, 0, 0, -1]


def added(number: int, *others: NDArray[np.float64], share: float) -> Image.Image:
    """The scene `number`, of which there is a `share`, over what other pictures show, too."""
    own = (np.asarray(scene(number), dtype=np.float64) - 128) * share
    return Image.fromarray((128 + own + sum(others)).clip(0, 255).astype(np.uint8))


def test_stripes_that_all_pictures_have_are_no_copies_of_each_other() -> None:
    bars = np.zeros((240, 320, 3))
    bars[20::60], bars[21::60], bars[22::60], bars[:, 40::80] = -100, -100, -100, -60
    pictures = [added(number, bars, share=0.12) for number in range(6)]
    assert found([*pictures, CHANGES["mirrored"](pictures[2])], apart(7)) == [-1, -1, 0, -1, -1, -1, 0]


def test_pictures_that_are_much_alike_are_no_copies_of_each_other() -> None:
    common = 0.8 * (np.asarray(scene(99), dtype=np.float64) - 128)
    assert found([added(number, common, share=0.27) for number in (2, 3)], apart(2)) == [-1, -1]


def test_pictures_that_fit_as_well_as_those_of_another_class_are_no_copies() -> None:
    common = 0.9 * (np.asarray(scene(99), dtype=np.float64) - 128)
    pictures = [added(number, common, share=0.15) for number in range(8)]
    assert found([*pictures, jpeg(pictures[2])], apart(9), labels=[0, 0, 0, 0, 1, 1, 1, 1, 0]) == [
        -1,
        -1,
        0,
        *[-1] * 5,
        0,
    ]


def test_pixels_that_fit_do_not_join_pictures_whose_features_are_far_apart() -> None:
    pictures = [scene(0), scene(1), jpeg(scene(0))]
    assert found(pictures, np.eye(3)) == [-1, -1, -1]


def test_pictures_without_contrast_or_detail_are_no_copies_of_each_other() -> None:
    blank = [Image.new("RGB", (320, 240), (value, value, value)) for value in (250, 251, 252)]
    drops = [
        Image.fromarray(np.full((8, 8), 30, np.uint8) + np.uint8(8) * np.eye(8, k=shift, dtype=np.uint8)).convert("RGB")
        for shift in (-1, 1)
    ]
    smooth = [scene(number, 3, 3) for number in range(3)]
    assert found([*blank, *drops, *smooth], np.ones((8, 4))) == [-1] * 8


def test_the_same_bytes_are_a_group_whatever_they_show() -> None:
    entry = ImageEntry(sha256="0" * 64, label=0, name="a.jpg", file="", width=9, height=9)
    other = entry.model_copy(update={"sha256": "1" * 64, "name": "b.jpg"})
    pixels = np.zeros((3, SIDE, SIDE, 3), np.uint8)
    assert finish(find_groups([entry, other, entry], np.eye(3), pixels))[1].tolist() == [0, -1, 0]


@pytest.mark.parametrize(
    ("names", "together"),
    [
        (("cat/a.jpg", "cat/a_aug_3.jpg"), True),
        (("cat/a_aug_1.jpg", "cat/a-rot90.jpg"), True),
        (("train/cat/a_jpg.rf.0a1b2c.jpg", "test/cat/a_jpg.rf.ffee.jpg"), True),
        (("cat/a copy.jpg", "cat/a.png"), True),
        (("cat/a_flip_crop.jpg", "cat/a.png"), True),
        (("cat/a_aug_3.jpg", "dog/a.jpg"), False),
        (("cat/a_aug_3.jpg", "cat/b_aug_3.jpg"), False),
        (("cat/a_1.jpg", "cat/a_2.jpg"), False),
    ],
)
def test_a_name_that_tells_of_an_original_is_believed_where_features_are_not_far_apart(
    names: tuple[str, str], together: bool
) -> None:
    pictures = [scene(0), scene(1)]
    assert found(pictures, apart(2), names) == ([0, 0] if together else [-1, -1])
    assert found(pictures, np.eye(2), names) == [-1, -1]


def test_frames_in_a_row_are_of_one_film_where_all_else_is_farther_away() -> None:
    """Each frame is a little farther from the first; the films show two things."""
    angles = np.radians(4.0 * np.arange(8))
    turning = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    films = [np.pad(turning, ((0, 0), (0, 2))), np.pad(turning, ((0, 0), (2, 0)))]
    features = np.concatenate(films)
    pictures = [scene(number) for number in range(16)]
    names = [f"x/film_{number:06}.jpg" for number in range(8)] + [f"x/IMG_{number:04}.jpg" for number in range(40, 48)]
    assert found(pictures, features, names) == [0] * 8 + [1] * 8
    shuffled = [f"x/{name}-{number}.jpg" for number, name in enumerate("ablkcmndefghqrst")]
    assert found(pictures, features, shuffled) == [-1] * 16


FILM = 24


def film() -> NDArray[np.float64]:
    """Features of `FILM` frames of a camera that wanders to and fro, twice."""
    angles = np.radians(5.0 * np.concatenate([np.arange(6), np.arange(6, 0, -1)] * 2))
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def frames(count: int) -> list[Image.Image]:
    """Pictures that overlap: all that is large is the same, and no fine detail is."""
    blur = ImageFilter.GaussianBlur(12)
    large = np.asarray(scene(99).filter(blur), dtype=np.float64)
    pictures = []
    for picture in (scene(number) for number in range(count)):
        fine = np.asarray(picture, dtype=np.float64) - np.asarray(picture.filter(blur))
        pictures.append(Image.fromarray((large + 0.4 * fine).clip(0, 255).astype(np.uint8)))
    return pictures


@pytest.mark.parametrize("step", [1, 10])
def test_frames_are_of_one_film_though_the_camera_comes_back_to_what_it_has_shown(step: int) -> None:
    features = np.concatenate([np.pad(film(), ((0, 0), (0, 8))), np.pad(np.eye(8), ((0, 0), (2, 0)))])
    pictures = frames(len(features))
    others = [f"cup/{name}.jpg" for name in "abcdefgh"]
    split = [f"{'test' if number % 3 else 'train'}/cup/take_{step * number:04}.jpg" for number in range(FILM)]
    assert found(pictures, features, [*split, *others]) == [0] * FILM + [-1] * 8
    cut_up = [scene(number) for number in range(len(features))]
    assert found(cut_up, features, [*split, *others]) == [-1] * len(features)
    by_chance = [f"cup/take_{step * (7 * number % FILM):04}.jpg" for number in range(FILM)]
    assert found(pictures, features, [*by_chance, *others]) == [-1] * len(features)


def test_one_frame_that_shows_nothing_does_not_cut_a_film_in_two() -> None:
    features = np.pad(film(), ((0, 8), (0, 8)))
    features[9], features[FILM:] = np.eye(10)[9], np.eye(10)[2:]
    names = [f"cup/{number:04}.jpg" for number in range(FILM)] + [f"cup/{name}.jpg" for name in "abcdefgh"]
    pictures = frames(len(features))
    assert found(pictures, features, names) == [0] * 9 + [-1] + [0] * (FILM - 10) + [-1] * 8


def test_a_film_is_divided_where_it_is_cut_to_another_scene() -> None:
    scenes = [np.pad(film(), ((0, 0), (0, 12))), np.pad(film(), ((0, 0), (2, 10)))]
    features = np.concatenate([*scenes, np.pad(np.eye(10), ((0, 0), (4, 0)))])
    names = [f"cup/{number:04}.jpg" for number in range(2 * FILM)] + [f"cup/{name}.jpg" for name in "abcdefghij"]
    pictures = frames(len(features))
    assert found(pictures, features, names) == [0] * FILM + [1] * FILM + [-1] * 10


def test_like_things_that_are_numbered_by_their_place_are_no_film() -> None:
    """Cells of two panels: what is beside a cell looks like it, and so do cells of the other panel."""
    pictures = frames(2 * FILM)
    names = [f"{label}/cell_{number:04}.jpg" for label in ("whole", "broken") for number in range(FILM)]
    unlike = np.concatenate([np.pad(film(), ((0, 0), (0, 2))), np.pad(film(), ((0, 0), (2, 0)))])
    assert found(pictures, unlike, names) == [0] * FILM + [1] * FILM
    assert found(pictures, np.concatenate([film(), film()]), names) == [-1] * 2 * FILM


def test_a_numbered_series_is_no_film_where_there_is_nothing_else_to_compare_it_with() -> None:
    names = [f"x/cell_{number:04}.jpg" for number in range(FILM)]
    assert found(frames(FILM), film(), names) == [-1] * FILM


def test_numbers_in_a_row_are_no_burst_where_other_pictures_are_as_near() -> None:
    pictures = [scene(number) for number in range(12)]
    names = [f"{'cat' if number < 6 else 'dog'}/{number:03}.jpg" for number in range(12)]
    two_classes = np.repeat(np.eye(2), 6, axis=0)
    assert found(pictures, np.hstack([two_classes, 0.2 * np.eye(12)]), names) == [-1] * 12


def test_many_pictures_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [scene(number % 4) if number in (1, 9) else scene(100 + number) for number in range(10)]
    whole = found(pictures, apart(10))
    monkeypatch.setattr("tl_core.data.groups._BLOCK", 3)
    assert found(pictures, apart(10)) == whole == [-1, 0, -1, -1, -1, -1, -1, -1, -1, 0]
