"""What a story says that a classifier cannot do, by what is known of its run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tl_core.data.checks import Finding
from tl_core.documents.manifest import ImageEntry, Manifest
from tl_core.documents.report import Accuracy
from tl_core.documents.tasks import Corrupted, Effect, Robustness
from tl_core.evaluation.corruptions import CORRUPTIONS
from tl_core.story.caveats import limits
from tl_core.story.source import Source


def _said(source: Source) -> dict[str, str]:
    return {title: text.replace("\u202f", " ") for title, text in limits(source, names=False)}


def test_each_story_says_what_holds_for_every_classifier(source: Source) -> None:
    said = _said(source)
    assert said["It always answers with one of its classes"].startswith("It knows these 3 and no others")
    assert "Another camera" in said["It was judged on pictures like those that it learned from"]
    assert said["All classes were judged on few pictures"].startswith("cup (3), plate (3) and bowl (3): fewer than 20")
    assert "Some classes have few pictures" not in said, "there are 20 of each"


def _with_images(source: Source, **of_row: Callable[[int, ImageEntry], object]) -> Source:
    """`source` with other values in the fields of its images, made from the row and the image."""
    assert source.manifest
    images = [
        {**image.model_dump(), **{field: value(row, image) for field, value in of_row.items()}}
        for row, image in enumerate(source.manifest.images)
    ]
    return replace(source, manifest=Manifest.model_validate({**source.manifest.model_dump(), "images": images}))


def test_pictures_that_show_the_same_thing_count_once_in_the_range_of_a_class(source: Source) -> None:
    assert "33 % (6 to 79 %)" in _said(source)["It is right least often on cup"]
    of_groups = _with_images(source, given_group=lambda row, image: str(image.label))
    assert "33 % (3 to 91 %)" in _said(of_groups)["It is right least often on cup"]


def test_of_a_split_of_its_makers_own_the_few_pictures_are_those_to_learn_from(source: Source) -> None:
    own = _with_images(source, split=lambda row, image: "test" if row % 2 else "train")
    assert _said(own)["Some classes have few pictures"].startswith("cup (10), plate (10) and bowl (10) to learn from.")


def test_a_threshold_is_told_with_what_it_gives(source: Source) -> None:
    said = _said(replace(source, info=source.info.model_copy(update={"threshold": 0.9})))
    assert said["It may say that it is not sure"] == (
        "An answer below 90 % counts as “not sure” (threshold). Of 9 test pictures, 100 % got an answer, and 67 % of these are right."
    )


def test_a_threshold_is_told_as_it_was_set(source: Source) -> None:
    said = _said(replace(source, info=source.info.model_copy(update={"threshold": 0.875})))
    assert said["It may say that it is not sure"].startswith("An answer below 87.5 % counts")


def test_what_corruptions_cost_is_told_once_it_was_asked(source: Source) -> None:
    name = next(iter(CORRUPTIONS))
    worst = Corrupted(strength="as strong as that", accuracy=0.5, interval=(0.3, 0.7), drop=0.4)
    found = Robustness(
        images=90,
        of_images=90,
        clean=Accuracy(images=90, accuracy=0.9, interval=(0.8, 0.95)),
        effects=(Effect(corruption=name, strengths=(worst,), p_value=0.001, example=0, said=(0, 0)),),
        hurt_most=(name,),
    )
    assert _said(replace(source, robustness=found))["Changed pictures are harder"] == (
        "90 test pictures were changed and asked about again; 90 % of them are named rightly as they are. What costs the most: "
        f"{CORRUPTIONS[name].title} (as strong as that: 50 % right, 30 to 70 %)."
    )
    unharmed = _said(replace(source, robustness=found.model_copy(update={"hurt_most": ()})))
    assert unharmed["Changed pictures"].endswith("No change costs more than chance explains.")


def test_findings_are_told_without_the_names_of_files(source: Source) -> None:
    def found(kind: str, message: str, rows: tuple[int, ...] = ()) -> Finding:
        return Finding(kind=kind, files=(), message=message, remedy=None, rows=rows, reasons=(), stops=False)

    told = (
        found("near_copy", "2 pictures show the same thing, among them secret.jpg.", rows=(3, 4)),
        found("suspect_label", "A label may be wrong: secret.jpg.", rows=(5,)),
        found("shortcut", "The file format alone tells the classes apart."),
        found("refused", "secret.jpg is refused."),
    )
    said = _said(replace(source, findings=told))
    assert said["Some pictures are near-copies of each other"].startswith("2 pictures are in groups")
    assert said["Some labels may be wrong"].startswith("1 picture is perhaps sorted into the wrong class")
    assert said["There may be a shortcut"] == "The file format alone tells the classes apart."
    assert "secret" not in " ".join(said.values())
