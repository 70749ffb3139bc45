"""Which pictures stand for the classes of a data set."""

from collections.abc import Sequence

from tl_core.documents.manifest import ImageEntry, Manifest
from tl_core.story.pictures import IN_ROWS, of_classes


def _manifest(counts: Sequence[int]) -> Manifest:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    images = [ImageEntry(sha256="", label=label, name="", file="", width=1, height=1) for label in labels]
    return Manifest(name="", created=0.0, source="", classes=tuple(map(str, range(len(counts)))), images=tuple(images))


def test_each_class_is_shown_by_pictures_from_all_over_it() -> None:
    assert of_classes(_manifest([12, 3])) == {0: [0, 2, 4, 6, 8, 10], 1: [12, 13, 14]}


def test_many_classes_have_one_picture_each_and_of_too_many_the_largest_are_shown() -> None:
    counts = [2] * (IN_ROWS + 1)
    assert of_classes(_manifest(counts)) == {label: [2 * label] for label in range(IN_ROWS + 1)}
    shown = of_classes(_manifest([1] * 10 + [2] * 60 + [0]))
    assert list(shown) == list(range(10, 70))
