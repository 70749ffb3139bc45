"""The slides of a run, as data: what each says, and which pictures are on it; and the deck that shows them.

Which answers are shown follows a rule that stands on the slide. The deck is one component that keeps its slide by itself, so that a talk goes on
without the server; so pictures are in it as data URIs. Its script, markup and styles lie beside this file. Nothing that a user typed is part of
them: slides are given to it as data, with names as they are, but short, and it puts them into the page as text.
"""

import io
from base64 import b64encode
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import accumulate, zip_longest
from pathlib import Path
from typing import Literal

import streamlit as st
from PIL import Image

from tl_core.disk import modified
from tl_core.documents.report import ImageAnswer, Report
from tl_core.markdown import named
from tl_core.statements import most_confused, statement, statements
from tl_core.wording import enumerated, percent, plural
from ui.evaluate_page.results import Result

_HTML, _CSS, _JS = (Path(__file__).with_name(f"deck.{kind}").read_text("utf-8") for kind in ("html", "css", "js"))
_DECK = st.components.v2.component("graft_deck", html=_HTML, css=_CSS, js=_JS)
A_SLIDE = 8
"""The most pictures on one slide: in two rows, they are still seen from the other end of a room."""
_WRONG_SLIDES = 2
MOST_IN_MATRIX = 10
"""The most classes in a matrix whose numbers are read from afar; with more, the commonest confusions are listed."""
_PAIRS = 6
"""The most confusions in that list."""
_LIMITS = 4
"""The most limits on the last slide."""
_TOLD = 80
"""The most characters of class names on the first slide."""
_NAME = 24
"""The most characters of a class name."""
_SIDES = (384, 288, 208, 144)
"""Longest sides, pixels: the first with which all pictures of a deck fit is taken."""
_QUALITY = 80
MOST_BYTES = 750_000
"""Of all pictures of a deck together: as base64 text, which is a third longer, a megabyte."""
_TINY = 64
"""Pixels; a picture whose longest side is shorter is enlarged with sharp edges, so that a digit of 8 by 8 stays one."""


@dataclass(frozen=True)
class Encoded:
    """A picture inside the page."""

    source: str
    """Data URI."""
    tiny: bool


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A picture with the answer to it."""

    source: str
    """Data URI."""
    tiny: bool
    """Whether it is enlarged with sharp edges."""
    alt: str
    right: bool
    answer: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Pair:
    """How often a class was taken for another one."""

    was: str
    said: str
    count: int
    of: int
    """Test pictures of the class `was`."""


@dataclass(frozen=True, kw_only=True)
class Slide:
    """One slide. `kind` says which of the other fields it has beside its title and note."""

    kind: Literal["outcome", "pictures", "matrix", "pairs", "limits"]
    title: str
    note: str = ""
    """Small, at its end."""
    figure: str = ""
    """The beginning of the title, where that is drawn much larger than the rest."""
    lines: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    classes: tuple[str, ...] = ()
    counts: tuple[tuple[int, ...], ...] = ()
    """Of the matrix, as `SplitMetrics.confusion`."""
    pairs: tuple[Pair, ...] = ()
    limits: tuple[dict[str, str], ...] = ()


def show(result: Result) -> None:
    """A button that starts the slides of a run, and their titles, each of which starts at its slide."""
    run = result.run
    data = {"name": named(run.name, longest=80), "slides": [asdict(slide) for slide in slides(result)]}
    _DECK(data=data, key=f"deck-{run.id}")


def slides(result: Result) -> list[Slide]:
    """The slides of a run: the outcome, pictures with their answers, the mistakes, and what it cannot do with how it was made.

    Those of pictures are left out where the data set was deleted, or its files cannot be read.
    """
    report, made = result.report, statements(result.source, "making")
    return [
        _outcome(result),
        *_pictures(result),
        _confusion(result, "matrix") if len(report.classes) <= MOST_IN_MATRIX else _confusion(result, "pairs"),
        Slide(
            kind="limits",
            title="What it cannot do",
            limits=tuple(
                {"title": entry.title, "text": entry.text} for entry in statements(result.source, "limit")[:_LIMITS]
            ),
            note=" ".join(f"{entry.title}: {entry.text}." for entry in made),
        ),
    ]


def _outcome(result: Result) -> Slide:
    report = result.report
    first, *others = statements(result.source, "result")
    names = [named(name, longest=_NAME) for name in report.classes]
    fit = sum(end <= _TOLD for end in accumulate(map(len, names)))
    # The next slides count the test pictures alone, also where the share is that of others.
    next_slides = [entry.sentences for entry in others if entry.name == "test"]
    return Slide(
        kind="outcome",
        figure=percent(report.shown.accuracy) if report.shown else "",
        # In letters of this size a line that ends with "cross-" reads as if a word were broken.
        title=first.title.replace("cross-validated", "cross\N{NON-BREAKING HYPHEN}validated"),
        lines=(f"It tells {plural(len(names), 'class', 'classes')} of pictures apart: {enumerated(names, most=fit)}.",),
        note=" ".join([first.text, *next_slides]),
    )


def right_answers(report: Report, most: int = A_SLIDE) -> list[ImageAnswer]:
    """Right answers, equally many of each class, in class order. Those of a class spread evenly from the surest to the least sure; one
    alone is that in the middle. Of more than `most` classes, `most` are taken, evenly in their order.
    """
    of_class: dict[int, list[ImageAnswer]] = defaultdict(list)
    for answer in sorted(report.answers, key=lambda answer: (answer.truth, -answer.probability)):
        if answer.predicted == answer.truth:
            of_class[answer.truth].append(answer)
    groups = list(of_class.values())
    taken = min(most, len(groups))
    return [
        group[place]
        for group in (groups[number * len(groups) // taken] for number in range(taken))
        for place in _spread(len(group), min(len(group), most // taken))
    ]


def _spread(size: int, count: int) -> list[int]:
    """`count` places of `size`, evenly from the first to the last; the middle for one."""
    if count == 1:
        return [size // 2]
    return [place * (size - 1) // (count - 1) for place in range(count)]


def wrong_answers(report: Report, most: int = A_SLIDE * _WRONG_SLIDES) -> list[ImageAnswer]:
    """Mistakes: the surest one of each confusion, the commonest confusion first; then the next of each."""
    of_pair: dict[tuple[int, int], list[ImageAnswer]] = defaultdict(list)
    for answer in report.mistakes():
        of_pair[answer.truth, answer.predicted].append(answer)
    common = sorted(of_pair.values(), key=len, reverse=True)
    return [answer for turn in zip_longest(*common) for answer in turn if answer is not None][:most]


def _pictures(result: Result) -> list[Slide]:
    report = result.report
    test, wrong = report.test, len(report.mistakes())
    chosen, mistakes = right_answers(report), wrong_answers(report)
    encoded = encode(result, [*mistakes, *chosen])
    good = tuple(_picture(report, answer, encoded[answer.row]) for answer in chosen if answer.row in encoded)
    bad = tuple(_picture(report, answer, encoded[answer.row]) for answer in mistakes if answer.row in encoded)
    slides = []
    if good:
        slides.append(
            Slide(
                kind="pictures",
                title=f"It is right: {test.images - wrong:,} of {plural(test.images, 'test picture')}",
                pictures=good,
                note=_right_rule(report, chosen),
            )
        )
    pages = -(-len(bad) // A_SLIDE)
    for page in range(pages):
        which = f" ({page + 1} of {pages})" if pages > 1 else ""
        slides.append(
            Slide(
                kind="pictures",
                title=f"It is wrong: {wrong:,} of {plural(test.images, 'test picture')}{which}",
                pictures=bad[page * len(bad) // pages : (page + 1) * len(bad) // pages],
                note="All of its mistakes, the surest one of each confusion first."
                if len(bad) == wrong
                else "Chosen by a rule: the commonest confusions first, of each the mistake that it was surest of.",
            )
        )
    return slides


def _right_rule(report: Report, chosen: Sequence[ImageAnswer]) -> str:
    classes = len({answer.truth for answer in report.answers if answer.predicted == answer.truth})
    of_each = A_SLIDE // classes
    if of_each > 1:
        fewer = "" if len(chosen) == classes * of_each else "at most "
        return f"Chosen by a rule: {fewer}{of_each} of each class, from its surest right answer to its least sure one."
    some = f"{A_SLIDE} of {classes} classes, evenly in their order; " if classes > A_SLIDE else ""
    return f"Chosen by a rule: {some}of each class the right answer in the middle by how sure it is."


def _picture(report: Report, answer: ImageAnswer, encoded: Encoded) -> Picture:
    said, was = (named(report.classes[label], longest=_NAME) for label in (answer.predicted, answer.truth))
    right, sure = answer.predicted == answer.truth, f"{percent(answer.probability)} sure"
    return Picture(
        source=encoded.source,
        tiny=encoded.tiny,
        alt=f"A picture of {was}",
        right=right,
        answer=said if right else f"said {said}",
        detail=sure if right else f"it was {was}; {sure}",
    )


def _confusion(result: Result, kind: Literal["matrix", "pairs"]) -> Slide:
    """Which classes are taken for which: all of them in a matrix, or the commonest pairs."""
    report, confused = result.report, statement(result.source, "confused")
    title = confused.title if confused else ""
    if kind == "matrix":
        classes = tuple(named(name, longest=_NAME) for name in report.classes)
        return Slide(kind=kind, title=title, classes=classes, counts=report.test.confusion)
    pairs = tuple(
        Pair(
            was=named(report.classes[truth], longest=_NAME),
            said=named(report.classes[answer], longest=_NAME),
            count=times,
            of=report.test.per_class[truth].support,
        )
        for truth, answer, times in most_confused(report, _PAIRS)
    )
    note = (
        f"The commonest confusions, {sum(pair.count for pair in pairs):,} of {plural(len(report.mistakes()), 'mistake')}; the Evaluate page "
        f"has all {len(report.classes):,} classes."
    )
    return Slide(kind=kind, title=title, pairs=pairs, note=note if pairs else "")


def encode(result: Result, answers: Sequence[ImageAnswer]) -> dict[int, Encoded]:
    """The pictures of `answers` by their rows, so small that `MOST_BYTES` hold them.

    Without those whose file is gone or cannot be read; empty where the data set is gone.
    """
    dataset, manifest = result.dataset, result.manifest
    if dataset is None or manifest is None:
        return {}
    paths = {answer.row: dataset.image(manifest.images[answer.row]) for answer in answers}
    for side in _SIDES:
        encoded = {row: _encoded(str(path), modified(path), side) for row, path in paths.items()}
        if sum(len(picture.source) for picture in encoded.values() if picture) <= MOST_BYTES * 4 / 3:
            break
    return {row: picture for row, picture in encoded.items() if picture}


@st.cache_data(max_entries=400, show_spinner=False)
def _encoded(name: str, moment: float, side: int) -> Encoded | None:
    """A small copy; None where the file is gone or cannot be read."""
    if not moment:
        return None
    buffer = io.BytesIO()
    try:
        with Image.open(name) as image:
            image.draft("RGB", (side, side))
            small = image.convert("RGB")
    except (OSError, ValueError, EOFError, SyntaxError):
        # Damaged on the disk; which of these Pillow raises depends on where.
        return None
    small.thumbnail((side, side))
    tiny = max(small.size) < _TINY
    kind = "png" if tiny else "jpeg"
    small.save(buffer, kind, quality=_QUALITY)
    return Encoded(f"data:image/{kind};base64,{b64encode(buffer.getvalue()).decode()}", tiny)
