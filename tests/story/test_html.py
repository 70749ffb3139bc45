"""The story of a run: its numbers are the report's, nothing in it runs or is loaded, and it stays small."""

import io
import json
import random
import re
import shutil
from base64 import b64decode, b64encode
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

from tests.app import records
from tests.story.conftest import a_run
from tests.story.reading import Page
from tl_core.documents.manifest import Manifest
from tl_core.documents.report import ImageAnswer, Slice
from tl_core.documents.tasks import RunSlices, SlicesSpec
from tl_core.errors import DocumentError
from tl_core.runs.finished import source_of
from tl_core.runs.store.folders import RunFolder
from tl_core.runs.tasks.subject import task_about
from tl_core.statements import Source
from tl_core.story import html as written
from tl_core.story.html import MOST_BYTES, story
from tl_core.story.pictures import proposed
from tl_core.wording import percent

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\u202eabc\u202c \u05d0\u05d1\u05d2",
    "\U0001f98a" * 64,
)


def _own_thumbnails(source: Source, to: Path) -> Source:
    """`source` with a copy of its thumbnails that a test may change."""
    assert source.thumbnails
    return replace(source, thumbnails=Path(shutil.copytree(source.thumbnails, to / "thumbnails")))


def _with(source: Source, **more: object) -> Source:
    return replace(source, report=source.report.model_copy(update=more))


def _plain(text: str) -> str:
    return text.replace("\u202f", " ")


def test_its_numbers_are_those_of_the_report(told: tuple[RunFolder, Source]) -> None:
    run, source = told
    page = Page(story(source).html)
    report = json.loads(run.report_file.read_text())
    test, classes = report["test"], report["classes"]
    right = sum(row[label] for label, row in enumerate(test["confusion"]))
    low, high = (round(100 * edge) for edge in test["interval"])
    assert right < test["images"], "or nothing is compared"
    (headline,) = page.inside("h1")
    assert (
        headline
        == f"It tells 3 classes of pictures apart: 67 % right on 9 pictures it had never seen ({low} to {high} %)"
    )
    assert "100 pictures: 67 filled, for right answers, and 33 crossed rings" in page.text
    assert [[int(cell) for cell in cells] for _, *cells in page.rows("was, then said")] == test["confusion"]
    said = {
        f"{classes[truth]}, {'and rightly called that' if truth == said else f'called {classes[said]}'}: {count}"
        for truth, row in enumerate(test["confusion"])
        for said, count in enumerate(row)
        if count
    }
    assert said <= set(page.inside("title"))
    assert page.rows("Class") == [
        [row["name"], *(_plain(percent(row[metric])) for metric in ("precision", "recall", "f1")), str(row["support"])]
        for row in test["per_class"]
    ]
    assert f"Macro F1 {test['macro_f1']:.3f}" in page.text
    for part, words in (("train", "to learn from"), ("val", "to choose settings by"), ("test", "held out")):
        assert f"{report['images'][part]} {words}" in page.text
    assert "1 file could not be read and was refused" in page.text
    listed = [text for text in page.inside("li") if text.endswith("20 pictures")]
    assert [text.removesuffix("20 pictures") for text in listed] == list(classes)
    assert "3 mistakes in 9 answers" in page.text
    assert "3,843 of 3.4 million" in page.text


def test_of_a_run_of_one_moment_no_share_is_drawn(source: Source) -> None:
    page = Page(story(_with(source, headline=None, one_moment=("cup",))).html)
    assert next(page.inside("h1")).endswith("All of one moment: record cup again elsewhere")
    assert "100 pictures:" not in page.text


def _nothing_runs_or_is_loaded(html: str) -> Page:
    page = Page(html)
    known = {
        "html", "head", "meta", "title", "style", "body", "header", "main", "section", "footer", "p", "b", "div", "span", "h1", "h2", "h3",
        "figure", "figcaption", "ul", "li", "dl", "dt", "dd", "img", "svg", "desc", "defs", "pattern", "path", "rect", "circle", "g", "text",
        "table", "thead", "tbody", "tr", "th", "td", "details", "summary", "pre", "code",
    }  # fmt: skip
    assert {tag for tag, _ in page.tags} <= known
    for tag, attributes in page.tags:
        assert not [
            name for name in attributes if name.startswith("on") or name in ("style", "href", "srcset", "action")
        ]
        if "src" in attributes:
            assert tag == "img"
            assert re.fullmatch(r"data:image/jpeg;base64,[A-Za-z0-9+/]+=*", attributes["src"])
    style = "".join(text for place, text in page.texts if "style" in place)
    assert "url(" not in style
    assert "@import" not in style
    (policy,) = (each["content"] for tag, each in page.tags if each.get("http-equiv") == "Content-Security-Policy")
    hashed = b64encode(sha256(style.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashed}'; base-uri 'none'; form-action 'none'"
    )
    return page


def test_nothing_in_it_runs_or_is_loaded(source: Source) -> None:
    html = story(source).html
    _nothing_runs_or_is_loaded(html)
    assert "://" not in html


def test_hostile_names_are_text() -> None:
    run = a_run(classes=tuple(sorted(HOSTILE)))
    file = records.workspace().dataset(run.spec().dataset).manifest_file
    manifest = Manifest.read(file)
    images = tuple(image.model_copy(update={"name": f"{name}/{index}.jpg"}) for index, (image, name) in enumerate(zip(manifest.images, HOSTILE * 99, strict=False)))  # fmt: skip
    manifest.model_copy(update={"images": images, "licence": HOSTILE[0], "note": HOSTILE[1]}).write(file)
    run.rename(HOSTILE[1])
    page = _nothing_runs_or_is_loaded(story(replace(source_of(run), names=True)).html)
    for name in (HOSTILE[0], HOSTILE[1]):
        assert name in page.text
    assert "\u202e" not in page.text, "an override would turn round what follows"
    assert "\u2068abc \u05d0\u05d1\u05d2\u2069" in page.text
    assert "\U0001f98a" * 47 + "…" in page.text


def test_names_of_files_are_told_only_when_that_is_asked_for(source: Source) -> None:
    secret = Slice(
        kind="folder", name="pictures in the folder ward 7", detail="", images=12, errors=7, accuracy=5 / 12, interval=(0.2, 0.68),
        elsewhere=0.9, p_value=0.001, answers=source.report.answers,
    )  # fmt: skip
    found = replace(source, slices=RunSlices(judged_by="test", images=60, accuracy=0.8, slices=(secret,)))
    without, told = Page(story(found).html), Page(story(replace(found, names=True)).html)
    assert "ward 7" not in without.text
    assert ".jpg" not in without.text.replace("picture.jpg", "")
    assert "without the names of their files" in without.text
    assert "ward 7" in told.text
    shown = [source.manifest.images[answer.row].name for answer in proposed(source.report)] if source.manifest else []
    assert shown
    assert all(name in told.text for name in shown)


def test_pictures_have_nothing_of_what_cameras_write(source: Source, tmp_path: Path) -> None:
    source = _own_thumbnails(source, tmp_path)
    assert source.thumbnails
    for file in source.thumbnails.iterdir():
        with Image.open(file) as image:
            exif = Image.Exif()
            exif[0x010E] = "in my garden"
            image.save(file, "JPEG", exif=exif, comment=b"in my garden", icc_profile=b"in my garden")
    html = story(source).html
    pictures = [b64decode(found) for found in re.findall(r"base64,([^\"]+)\"", html)]
    assert len(pictures) > 20
    for content in pictures:
        assert b"garden" not in content
        with Image.open(io.BytesIO(content)) as image:
            assert not image.getexif()


def _noisy(folder: Path) -> None:
    """Make each thumbnail in `folder` as large as one of 256 pixels can be."""
    buffer = io.BytesIO()
    Image.frombytes("RGB", (256, 256), random.Random(0).randbytes(3 * 256 * 256)).save(buffer, "JPEG", quality=85)
    for file in folder.iterdir():
        file.write_bytes(buffer.getvalue())


def test_large_pictures_become_smaller_until_all_fits(source: Source, tmp_path: Path) -> None:
    source = _own_thumbnails(source, tmp_path)
    assert source.thumbnails
    _noisy(source.thumbnails)
    every = list(source.report.answers) * 6
    made = story(source, every)
    assert made.bytes <= MOST_BYTES
    assert made.side < 256
    assert made.left_out == 0
    assert "They are smaller than usual" in Page(made.html).text


def test_where_small_pictures_do_not_fit_fewer_are_shown(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = story(source, []).bytes
    monkeypatch.setattr(written, "MOST_BYTES", bare)
    made = story(source)
    assert made.bytes <= bare
    assert made.left_out > 0
    assert "more answers were to be shown" in Page(made.html).text


def test_a_thousand_classes_fit(source: Source) -> None:
    names = tuple(f"{number}{chr(0x1F98A) * 60}" for number in range(1000))
    per_class = tuple(source.report.test.per_class[0].model_copy(update={"name": name}) for name in names)
    counts = ((1,) * len(names),) * len(names)
    test = source.report.test.model_copy(update={"per_class": per_class, "confusion": counts, "images": 1_000_000})
    large = replace(_with(source, classes=names, test=test), manifest=None, thumbnails=None)
    made = story(large)
    assert made.bytes <= MOST_BYTES
    assert "And 800 more classes" in Page(made.html).text


def test_answers_that_are_picked_are_shown_and_said_to_be(source: Source) -> None:
    wrong, right = source.report.mistakes()[-1], proposed(source.report, mistakes=0, right=1)[0]
    made = story(source, [wrong, right])
    page = Page(made.html)
    assert made.answers == (wrong, right)
    assert "1 mistake, picked by whoever made this story" in page.text
    captions = [text for text in page.inside("figcaption") if text.endswith("sure")]
    classes = source.report.classes
    assert captions == [
        f"said {classes[wrong.predicted]} was {classes[wrong.truth]} {_plain(percent(wrong.probability))} sure",
        f"rightly {classes[right.truth]} {_plain(percent(right.probability))} sure",
    ]
    fewer = Page(story(source, proposed(source.report, mistakes=2, right=2)).html).text
    assert "The 2 that it was surest of" in fewer
    assert "taken evenly from all right answers" in fewer
    assert "picked" not in fewer


def test_without_its_data_set_it_has_no_pictures_and_says_so(run: RunFolder) -> None:
    records.workspace().dataset(run.spec().dataset).delete()
    made = story(source_of(run))
    page = _nothing_runs_or_is_loaded(made.html)
    assert not made.answers
    assert "img" not in {tag for tag, _ in page.tags}
    assert "The pictures are not kept any more, so this story has none." in page.text
    assert [row[0] for row in page.rows("Class")] == ["cup", "plate", "bowl"]


def test_of_a_report_that_somebody_edited_the_story_says_what_is_wrong(run: RunFolder) -> None:
    whole = json.loads(run.report_file.read_text())
    answer = whole["answers"][0]
    for edited in (
        {"answers": [{**answer, "predicted": 3}]},
        {"answers": [{**answer, "truth": -1}]},
        {"answers": [{**answer, "probability": float("nan")}]},
        {"classes": []},
        {"test": {**whole["test"], "confusion": [[9]]}},
        {"test": {**whole["test"], "accuracy": float("inf")}},
        {"test": {**whole["test"], "f1_of_the_future": float("nan")}},
    ):
        run.report_file.write_text(json.dumps({**whole, **edited}))
        with pytest.raises(DocumentError, match="is not a valid Report document"):
            source_of(run)
    run.report_file.write_text(json.dumps({**whole, "answers": [{**answer, "row": 60}]}))
    with pytest.raises(DocumentError, match="pictures that its data set does not have"):
        source_of(run)


def test_where_it_fails_is_told_once_somebody_has_asked(run: RunFolder) -> None:
    assert source_of(run).slices is None
    answers = tuple(
        ImageAnswer(row=row, truth=0, predicted=1, probability=0.9, truth_probability=0.1) for row in range(7)
    )
    dark = Slice(
        kind="brightness", name="dark pictures", detail="up to 87 of 255 (mean grey)", images=12, errors=7, accuracy=5 / 12,
        interval=(0.2, 0.68), elsewhere=0.91, p_value=0.001, answers=answers,
    )  # fmt: skip
    records.asked(task_about(run, SlicesSpec), RunSlices(judged_by="test", images=90, accuracy=0.8, slices=(dark,)))
    assert "It fails more often on dark pictures (up to 87 of 255 (mean grey))" in story(source_of(run)).html
