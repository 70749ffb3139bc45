"""The slides of a run, as data: what each says, and which pictures are on it.

Which answers are shown follows a rule that stands on the slide. Names that users typed are in it as they are, but short: the deck puts them
into the page as text.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, zip_longest
from typing import Literal

from tl_core.documents.report import ImageAnswer, Report, record_again
from tl_core.errors import GraftError
from tl_core.story.caveats import of_report
from tl_core.story.figures import most_confused
from tl_core.story.names import enumerated, named
from ui import words
from ui.evaluate_page.results import Result
from ui.present_page.slide_pictures import Encoded, encode
from ui.words import percent, plural, strategy_title

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


def slides(result: Result) -> list[Slide]:
    """The slides of a run: the outcome, pictures with their answers, the mistakes, and what it cannot do with how it was made.

    Those of pictures are left out where the data set was deleted, or its files cannot be read.
    """
    report = result.report
    return [
        _outcome(result),
        *_pictures(result),
        _matrix(report) if len(report.classes) <= MOST_IN_MATRIX else _pairs(report),
        Slide(
            kind="limits",
            title="What it cannot do",
            limits=tuple(
                {"title": one.title, "text": one.text} for one in of_report(report, result.manifest)[:_LIMITS]
            ),
            note=_how_it_was_made(result),
        ),
    ]


def _outcome(result: Result) -> Slide:
    report, shown = result.report, result.report.shown
    names = [named(name, longest=_NAME) for name in report.classes]
    fit = sum(end <= _TOLD for end in accumulate(map(len, names)))
    lines = (f"It tells {plural(len(names), 'class', 'classes')} of pictures apart: {enumerated(names, most=fit)}.",)
    if shown is None:
        return Slide(
            kind="outcome",
            title=record_again([named(name, longest=_NAME) for name in report.one_moment]),
            lines=lines,
            note="The pictures of such a class show so few different things that the same had to be learned from and judged on, so no share of right answers is to be believed.",
        )
    range_of = "In brackets: the range in which the true share lies in 95 of 100 such cases (95\u202f% interval)."
    return Slide(
        kind="outcome",
        figure=percent(shown.accuracy),
        # In letters of this size a line that ends with "cross-" reads as if a word were broken.
        title=words.result(report).replace("cross-validated", "cross\N{NON-BREAKING HYPHEN}validated"),
        lines=lines,
        note=" ".join((_cross_validated(report), range_of)).strip(),
    )


def _cross_validated(report: Report) -> str:
    """What the word means and how its share goes with that of the test pictures, which the next slides count; empty for other results."""
    if report.headline != "cross_validated":
        return ""
    right = report.test.images - len(report.mistakes())
    return (
        "Cross-validated: each picture was answered once, after others had been learned from. The next slides are about the "
        f"{plural(report.test.images, 'test picture')} alone; of these, {right:,} were named rightly."
    )


def _how_it_was_made(result: Result) -> str:
    """A line: pictures, backbone, strategy, seconds."""
    spec, images = result.run.spec(), result.report.images
    try:
        seconds = result.run.status().seconds.get("total")
    except GraftError:
        seconds = None
    train, val = images.get("train", 0), images.get("val", 0)
    learned = (
        [f"learned from {plural(train + val, 'picture')}", "settings chosen by cross-validation over these"]
        if result.report.val_out_of_fold
        else [f"learned from {plural(train, 'picture')}", f"settings chosen by {val:,}"]
    )
    parts = [
        *learned,
        f"judged on {images.get('test', 0):,}",
        f"started from {spec.backbone} (backbone)",
        f"re-trained: {strategy_title(spec.strategy).lower()} (strategy)",
        *([words.duration(seconds)] if seconds else []),
    ]
    return f"How it was made: {', '.join(parts)}."


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
    found = []
    if good:
        found.append(
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
        found.append(
            Slide(
                kind="pictures",
                title=f"It is wrong: {wrong:,} of {plural(test.images, 'test picture')}{which}",
                pictures=bad[page * len(bad) // pages : (page + 1) * len(bad) // pages],
                note="All of its mistakes, the surest one of each confusion first."
                if len(bad) == wrong
                else "Chosen by a rule: the commonest confusions first, of each the mistake that it was surest of.",
            )
        )
    return found


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


def confusion(report: Report) -> str:
    """The commonest confusion of the test pictures, as a title."""
    wrong = len(report.mistakes())
    if not wrong:
        return f"No mistake on {plural(report.test.images, 'test picture')}"
    truth, said, count = most_confused(report, 1)[0]
    was, called = (f"“{named(report.classes[label], longest=_NAME)}”" for label in (truth, said))
    if wrong == 1:
        return f"Its one mistake: {was} called {called}"
    if count == 1:
        return f"{wrong:,} mistakes, no two of them alike"
    if count == wrong:
        return f"All {wrong:,} mistakes: {was} called {called}"
    return f"{count:,} of {wrong:,} mistakes: {was} called {called}"


def _matrix(report: Report) -> Slide:
    return Slide(
        kind="matrix",
        title=confusion(report),
        classes=tuple(named(name, longest=_NAME) for name in report.classes),
        counts=report.test.confusion,
    )


def _pairs(report: Report) -> Slide:
    wrong = len(report.mistakes())
    pairs = tuple(
        Pair(
            was=named(report.classes[truth], longest=_NAME),
            said=named(report.classes[said], longest=_NAME),
            count=count,
            of=report.test.per_class[truth].support,
        )
        for truth, said, count in most_confused(report, _PAIRS)
    )
    return Slide(
        kind="pairs",
        title=confusion(report),
        pairs=pairs,
        note=f"The commonest confusions, {sum(pair.count for pair in pairs):,} of {plural(wrong, 'mistake')}; the Evaluate page has all "
        f"{len(report.classes):,} classes."
        if pairs
        else "",
    )
