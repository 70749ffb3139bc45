"""What is said of a data set: what stops a run, what was set aside, what would help, and what mends it."""

import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFilter

from tests.conftest import PictureFolder
from tests.data.work import NEARLY_BLACK, add_nearly_black, black, blocks, ingested
from tl_core.data import checks
from tl_core.data.checks import MOST_CLASSES, Finding, findings, problem, require_trainable
from tl_core.data.measures import MEASURES
from tl_core.documents.manifest import ImageEntry, Manifest, Split, Suspicion
from tl_core.errors import LayoutError, NotEnoughImages
from tl_core.table import Table


def said(manifest: Manifest) -> dict[str, Finding]:
    """The findings by their kind, of which each occurs once."""
    found = findings(manifest)
    assert len({finding.kind for finding in found}) == len(found)
    return {finding.kind: finding for finding in found}


def test_files_that_are_refused_or_passed_over_are_said_with_their_reasons(
    picture_folder: PictureFolder, tmp_path: Path
) -> None:
    source = picture_folder({"cat": 20, "dog": 20})
    (source / "cat" / "broken.jpg").write_bytes((source / "cat" / "000.jpg").read_bytes()[:300])
    (source / "dog" / "drawing.svg").write_text("<svg/>")
    (source / "dog" / "deep").mkdir()
    shutil.move(source / "dog" / "000.jpg", source / "dog" / "deep" / "000.jpg")
    (source / "notes.txt").write_text("x")
    for name in ("again.jpg", "more.jpg"):
        shutil.copy(source / "cat" / "001.jpg", source / "cat" / name)
    found = said(ingested(source, tmp_path / "d"))
    assert set(found) == {"refused", "passed_over", "folded_folders", "exact_copy"}
    assert found["exact_copy"].files == ("cat/again.jpg", "cat/more.jpg")
    assert set(found["refused"].files) == {"cat/broken.jpg", "dog/drawing.svg"}
    assert all(reason.endswith(".") for reason in found["refused"].reasons)
    assert found["refused"].message.startswith("2 files are refused, the first of them dog/drawing.svg: This kind")
    assert not any(finding.stops or finding.rows for finding in found.values())


def _counted(parts: Mapping[Split | None, Sequence[int]]) -> Manifest:
    """Classes c000, c001 ... with so many pictures in each part, all of other bytes."""
    rows = [(label, part) for part, counts in parts.items() for label, count in enumerate(counts) for _ in range(count)]
    images = tuple(
        ImageEntry(sha256=f"{row:064x}", label=label, split=part, name="x", file="", width=1, height=1)
        for row, (label, part) in enumerate(rows)
    )
    classes = tuple(f"c{label:03}" for label in range(max(map(len, parts.values()))))
    return Manifest(name="n", created=0, source="s", classes=classes, images=images)


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ({None: [9]}, LayoutError, "one class only, 'c000'"),
        ({None: [5] * (MOST_CLASSES + 1)}, LayoutError, "1,001 classes"),
        ({None: [9, 4, 0, 3]}, NotEnoughImages, "at least: 'c001' has 4, 'c002' has 0, 'c003' has 3. Add"),
        ({None: [3] * 300}, NotEnoughImages, "'c007' has 3 and 292 more classes. Add pictures"),
        ({"train": [9, 4], "test": [9, 9]}, NotEnoughImages, "in train at least: 'c001' has 4"),
        ({"train": [9, 9], "val": [9, 9, 9, 1]}, LayoutError, "'c002', 'c003' are in val or test but not in train"),
        ({"val": [9, 9], "test": [9, 9]}, LayoutError, "no train folder"),
    ],
)
def test_what_no_run_can_start_on_is_said(
    parts: Mapping[Split | None, Sequence[int]], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        require_trainable(_counted(parts))
    assert problem(_counted({None: [5, 5]})) is None


def test_what_would_help_is_said_with_its_remedy(picture_folder: PictureFolder, tmp_path: Path) -> None:
    source = picture_folder({"cat": 80, "dog": 6})
    shutil.copy(source / "cat" / "000.jpg", source / "dog" / "same.jpg")
    manifest = ingested(source, tmp_path / "d")
    found = said(manifest)
    assert "Few pictures: 'dog' (7). 20 or more" in found["small_class"].message
    assert "lean towards 'cat'" in found["imbalance"].message
    assert "'cat' and 'dog'" in found["two_labels"].message
    assert set(found["two_labels"].files) == {"cat/000.jpg", "dog/same.jpg"}
    assert {manifest.images[row].name for row in found["two_labels"].rows} == set(found["two_labels"].files)
    remedies = {kind: finding.remedy for kind, finding in found.items()}
    assert remedies == {"small_class": "photograph", "imbalance": "photograph", "two_labels": "move"}
    assert findings(_counted({None: [20, 20]})) == []
    (few,) = _of_kind("small_class", _counted({"train": [21, 8], "test": [2, 30]}))
    assert "Few pictures in train: 'c001' (8). 20 or more" in few.message


def test_identical_images_across_the_users_splits_are_reported() -> None:
    images = [
        image for manifest in (_counted({"train": [20, 20]}), _counted({"test": [20, 20]})) for image in manifest.images
    ]
    manifest = _counted({None: [1, 1]}).model_copy(update={"images": tuple(images)})
    found = said(manifest)
    assert found.keys() == {"copy_across_splits"}
    assert found["copy_across_splits"].message.startswith("40 pictures are in more than one")
    assert len(found["copy_across_splits"].files) == 80


def test_what_keeps_a_run_from_starting_is_a_finding_and_comes_first() -> None:
    manifest = _counted({None: [3]})
    first, *others = findings(manifest)
    assert (first.kind, first.stops) == ("one_class", True)
    assert first.message == problem(manifest)
    assert [finding.kind for finding in others] == ["small_class"]


FAULTS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(4)),
    "dark": lambda image: image.point(lambda value: value // 10),
    "bright": lambda image: image.point(lambda value: min(255, 150 + 5 * value)),
    "blank": lambda image: Image.new("RGB", image.size, "white"),
    "tiny": lambda image: image.resize((16, 16)),
    "odd_shape": lambda image: image.resize((500, 50)),
}
"""What is wrong with a picture, by the kind of the check that finds it."""


def two_classes(folder: Path) -> Path:
    """Two classes of a dozen sharp pictures."""
    for number in range(24):
        path = folder / ("cat", "dog")[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        blocks(number).save(path)
    return folder


def with_faults(folder: Path) -> Path:
    """Two classes and, in one of them, a picture with each fault, called after it."""
    two_classes(folder)
    for number, (kind, spoil) in enumerate(FAULTS.items()):
        spoil(blocks(100 + number)).save(folder / "cat" / f"{kind}.png")
    return folder


def test_each_picture_with_something_wrong_is_found(tmp_path: Path) -> None:
    manifest = ingested(with_faults(tmp_path / "p"), tmp_path / "d")
    found = said(manifest)
    for kind in FAULTS:
        assert f"cat/{kind}.png" in found[kind].files
        assert found[kind].remedy == "leave_out"
        assert [manifest.images[row].name for row in found[kind].rows] == list(found[kind].files)
        assert set(found[kind].files) <= {f"cat/{fault}.png" for fault in FAULTS}, kind
    assert found["tiny"].files == ("cat/tiny.png",)
    assert "16 x 16" in found["tiny"].message
    assert "500 x 50" in found["odd_shape"].message


@pytest.mark.parametrize("kind", sorted(FAULTS.keys() - {"blank"}))
def test_what_all_pictures_of_a_class_have_in_common_is_not_found(tmp_path: Path, kind: str) -> None:
    source = two_classes(tmp_path / "p")
    for path in (source / "dog").iterdir():
        FAULTS[kind](Image.open(path)).save(path)
    assert kind not in said(ingested(source, tmp_path / "d"))


def test_among_drawings_on_white_paper_only_the_empty_page_is_found(tmp_path: Path) -> None:
    (tmp_path / "p" / "a").mkdir(parents=True)
    for number in range(20):
        page = Image.new("L", (120, 120), 255)
        ImageDraw.Draw(page).line((20, 20 + number, 100, 100 - number), fill=0, width=2 + number // 5)
        page.save(tmp_path / "p" / "a" / f"{number}.png")
    Image.new("L", (120, 120), 255).save(tmp_path / "p" / "a" / "empty.png")
    found = said(ingested(tmp_path / "p", tmp_path / "d"))
    assert found.keys() & FAULTS.keys() == {"blank"}
    assert found["blank"].files == ("a/empty.png",)


def test_each_number_has_a_check_that_finds_by_it() -> None:
    assert MEASURES.keys() - checks.SHORTCUT_MEASURES <= checks.CHECKS.keys()


def test_two_checks_of_one_kind_are_refused_at_import() -> None:
    with pytest.raises(ValueError, match="'nearly_black'"):
        Table("check", [*checks.CHECKS.values(), NEARLY_BLACK, NEARLY_BLACK], key=attrgetter("kind"))


@pytest.mark.usefixtures("decoded_here")
def test_a_check_of_pixels_is_one_row_of_each_table(
    picture_folder: PictureFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = picture_folder({"cat": 20, "dog": 20})
    black(source / "cat" / "night.jpg")
    before = ingested(source, tmp_path / "before")
    add_nearly_black(monkeypatch)
    assert "nearly_black" not in said(before), "pictures that were read before the check existed have no measure"
    manifest = ingested(source, tmp_path / "d")
    assert Manifest.read(tmp_path / "d" / "manifest.json") == manifest
    found = said(manifest)
    assert found["nearly_black"].files == ("cat/night.jpg",)
    assert found["nearly_black"].remedy == "photograph"


def _as_png(image: Image.Image, path: Path) -> None:
    image.save(path.with_suffix(".png"))


def _brighter(image: Image.Image, path: Path) -> None:
    image.point(lambda value: 128 + value // 2).save(path)


def _larger(image: Image.Image, path: Path) -> None:
    image.resize((300, 225)).save(path)


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (_as_png, "The file format"),
        (_brighter, "The (brightness|colour of the border)"),
        (_larger, "The size in pixels"),
        (None, ""),
    ],
)
def test_a_class_that_something_silly_tells_is_a_shortcut(
    tmp_path: Path, plant: Callable[[Image.Image, Path], None] | None, told: str
) -> None:
    for number in range(36):
        path = tmp_path / "p" / ("cat", "dog", "hen")[number % 3] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        (plant if plant and number % 3 == 1 else Image.Image.save)(blocks(number), path)
    found = said(ingested(tmp_path / "p", tmp_path / "d"))
    if plant is None:
        assert "shortcut" not in found
        return
    message, remedy = found["shortcut"].message, found["shortcut"].remedy
    assert re.match(
        rf"{told} alone tells 'dog' from the other classes.* is right in (9\d|100)% \(by chance in 50%", message
    )
    assert remedy == "photograph"


def test_properties_that_tell_the_classes_only_together_are_a_shortcut() -> None:
    silly = {"file_bytes": 9_000, "camera": 0, "brightness": 100.0} | dict.fromkeys(
        ("border_red", "border_green", "border_blue"), 8
    )
    images = tuple(
        ImageEntry(
            sha256=f"{row:064x}", label=row % 4, name=f"{row}.jpg", file="", width=200, height=200,
            measured=silly | {"file_format": row % 2, "file_width": 200 + row % 4 // 2, "file_height": 200},
        )
        for row in range(160)
    )  # fmt: skip
    classes = ("ash", "elm", "fir", "oak")
    (found,) = _of_kind("shortcut", Manifest(name="m", created=0, source="s", classes=classes, images=images))
    assert found.message.startswith("What the format, size, shape and light of the files say together")
    assert "tells the classes apart: a classifier that sees nothing else is right in 100%" in found.message
    halved = [image.model_copy(update={"label": image.label % 2}) for image in images]
    (found,) = _of_kind(
        "shortcut", Manifest(name="m", created=0, source="s", classes=classes[:2], images=tuple(halved))
    )
    assert found.message.startswith("The file format alone tells"), "a single property is named where it suffices"


def _grouped(groups: Sequence[int | None], splits: Sequence[Split | None] | None = None) -> Manifest:
    """Two classes of half the pictures each, all of other bytes."""
    images = tuple(
        ImageEntry(
            sha256=f"{row:064x}", label=2 * row // len(groups), name=f"{row}.jpg", file="", width=90, height=90,
            group=group, split=splits[row] if splits else None,
        )
        for row, group in enumerate(groups)
    )  # fmt: skip
    return Manifest(name="m", created=0, source="s", classes=("cat", "dog"), images=images, grouped=True)


def _of_kind(kind: str, manifest: Manifest) -> list[checks.Finding]:
    return [finding for finding in checks.findings(manifest) if finding.kind == kind]


def test_suspect_labels_are_told_worst_first_with_the_class_that_was_answered() -> None:
    def suspicion(label: str, suggested: str, probability: float) -> Suspicion:
        return Suspicion(
            label=label, suggested=suggested, label_probability=probability, suggested_probability=1 - probability
        )

    clean = _grouped([None] * 20)
    given = {
        3: suspicion("cat", "dog", 0.02),
        12: suspicion("dog", "cat", 0.01),
        15: suspicion("cat", "dog", 0.001),
        16: suspicion("dog", "bird", 0.001),
    }
    images = tuple(image.model_copy(update={"suspicion": given.get(row)}) for row, image in enumerate(clean.images))
    (found,) = _of_kind("suspect_label", clean.model_copy(update={"images": images}))
    assert (found.rows, found.files) == ((12, 3), ("12.jpg", "3.jpg")), (
        "row 15 was moved since, and there are no birds any more"
    )
    assert (found.remedy, found.move_to) == ("move", ("cat", "dog"))
    assert found.reasons == ("labelled 'dog', answered 'cat' (99%)", "labelled 'cat', answered 'dog' (98%)")
    assert found.message.startswith("2 labels may be wrong")
    assert not _of_kind("suspect_label", clean)


def test_near_copies_are_told_with_their_pictures_and_a_remedy() -> None:
    (found,) = _of_kind("near_copy", _grouped([0, None, 0, 1, None, 1, None, None, 1, None, *[None] * 10]))
    assert (found.rows, found.remedy) == ((0, 2, 3, 5, 8), "leave_out")
    assert "5 pictures" in found.message
    assert "2 groups" in found.message
    assert not _of_kind("near_copy", _grouped([None] * 20))


def test_near_copies_across_the_users_own_splits_are_a_leak() -> None:
    splits: list[Split | None] = [*["train"] * 7, "val", "test", "test"] * 2  # type: ignore[list-item]
    leaking = _grouped([0, *[None] * 6, 1, 0, 1, *[None] * 10], splits)
    assert checks.leaked_rows(leaking) == [8, 9]
    (found,) = _of_kind("copy_across_splits", leaking)
    assert set(found.rows) == {0, 7, 8, 9}
    assert "2 pictures of val and test show" in found.message
    assert checks.leaked_rows(_grouped([None] * 20, splits)) == []
    assert checks.leaked_rows(_grouped([0] * 20)) == [], "a split of ours leaks nothing"


def test_a_class_of_one_moment_is_to_be_recorded_again() -> None:
    (found,) = _of_kind("one_moment", _grouped([0] * 6 + [1] * 4 + [None] * 10))
    assert found.remedy == "photograph"
    assert "'cat' (2 groups)" in found.message
    assert "'dog'" not in found.message
    assert "Record it again elsewhere" in found.message
