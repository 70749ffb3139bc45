"""Writes the story of a run: one HTML file that holds all that it shows, at most `MOST_BYTES` large.

It has no script, loads nothing, and says so to the browser (Content Security Policy). Jinja escapes whatever stands in it.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from tl_core.documents.bundle_info import NO_WEIGHTS
from tl_core.documents.manifest import Manifest
from tl_core.documents.report import ImageAnswer, Report
from tl_core.evaluation.metrics import CLASS_METRICS
from tl_core.markdown import named, short
from tl_core.serving.bundle_files import BUNDLE_FILES
from tl_core.serving.card import in_python
from tl_core.statements import Source, most_confused, statements
from tl_core.story import figures
from tl_core.story.pictures import IN_ROWS, MOST_PICKED, SIDES, Album, Picture, of_classes, proposed
from tl_core.wording import percent, plural

MOST_BYTES = 3_000_000
"""The largest size of a story, so that it can be sent by mail."""
_LISTED = 200
"""The most classes that are listed."""
_CELLS_UP_TO = 24
"""The most classes whose matrix stands in the file as a table, too."""
_SMALLER = 0.75
"""The side of a picture that stands for its class, as a share of that of an answer."""


@dataclass(frozen=True)
class Story:
    """One finished story."""

    html: str
    answers: tuple[ImageAnswer, ...]
    """Those whose pictures it shows."""
    side: int
    """Longest side of their pictures, pixels; the most possible where it shows none."""
    left_out: int
    """How many answers that were to be shown are not, because the file would be too large, or their pictures are gone."""

    @property
    def bytes(self) -> int:
        """Its size as UTF-8."""
        return len(self.html.encode())


class Shown(NamedTuple):
    """An answer with its picture."""

    answer: ImageAnswer
    picture: Picture
    file: str
    """Name of the picture's file; empty where it is not to be told."""

    @property
    def right(self) -> bool:
        return self.answer.truth == self.answer.predicted


def story(source: Source, answers: Sequence[ImageAnswer] | None = None) -> Story:
    """The story of the run that `source` holds.

    `answers`: those of its report whose pictures are shown, at most `MOST_PICKED` of them; None: those of `proposed`. Pictures become smaller, then fewer, until all fits. The same source gives the same story.
    """
    wanted = list(proposed(source.report) if answers is None else answers)[:MOST_PICKED]
    shared = _told(source, wanted)
    page = _templates().get_template("story.html")
    classes = of_classes(source.manifest) if source.manifest else {}
    for side, share in [*((side, 1.0) for side in SIDES), *((SIDES[-1], share) for share in (0.5, 0.25, 0.0))]:
        album = Album(source.manifest, source.thumbnails, side) if source.manifest and source.thumbnails else None
        shown = _shown(album, _first(wanted, share), names=source.names)
        strips = {label: _strip(album, _first(rows, share)) for label, rows in classes.items()} if album else {}
        made = Story(
            html=page.render(
                shared,
                wrong=[each for each in shown if not each.right],
                right=[each for each in shown if each.right],
                strips=strips,
                smaller=side < SIDES[0] and bool(shown or strips),
                missing=len(wanted) - len(shown),
            ),
            answers=tuple(each.answer for each in shown),
            side=side,
            left_out=len(wanted) - len(shown),
        )
        if made.bytes <= MOST_BYTES:
            break
    return made


def _first(items: Sequence[Any], share: float) -> Sequence[Any]:
    return items[: round(share * len(items))]


def _shown(album: Album | None, answers: Sequence[ImageAnswer], *, names: bool) -> list[Shown]:
    if album is None:
        return []
    pictures = ((answer, album.picture(answer.row)) for answer in answers)
    return [
        Shown(answer, picture, named(album.manifest.images[answer.row].name, longest=80) if names else "")
        for answer, picture in pictures
        if picture
    ]


def _strip(album: Album, rows: Sequence[int]) -> list[Picture]:
    return [picture for row in rows if (picture := album.picture(row, scale=_SMALLER))]


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("tl_core.story"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals |= {"named": named, "percent": percent, "plural": plural}
    return made


def _told(source: Source, wanted: Sequence[ImageAnswer]) -> dict[str, Any]:
    """All that the template asks for but the pictures. `wanted`: the answers that are to be shown."""
    report, info, manifest = source.report, source.info, source.manifest
    assert info is not None
    wrong = [answer for answer in wanted if answer.truth != answer.predicted]
    right = [answer for answer in wanted if answer.truth == answer.predicted]
    style = _templates().get_template("story.css").render()
    outcome, *results = statements(source, "result")
    return {
        "style_hash": b64encode(sha256(style.encode()).digest()).decode(),
        "name": named(source.name, longest=80),
        "outcome": outcome,
        "figure": f"{percent(report.shown.accuracy)} right" if report.shown else "",
        "results": results,
        "limits": statements(source, "limit"),
        "making": statements(source, "making"),
        "origin": statements(source, "origin"),
        "report": report,
        "spec": source.spec,
        "dots_right": None if report.shown is None else figures.right_of_100(report.shown.accuracy),
        "manifest": manifest,
        "data_name": named(source.data_name, longest=80),
        "classes": _classes(report, manifest),
        "tiles": len(report.classes) > IN_ROWS,
        "more_classes": max(0, len(report.classes) - _LISTED),
        "left_out": _left_out(report, manifest),
        "licence": short(manifest.licence or "", longest=200) if manifest else "",
        "note": short(manifest.note or "", longest=400) if manifest else "",
        "pretrained": info.weights != NO_WEIGHTS,
        "stages": figures.learned(source.spec, report),
        "matrix": figures.matrix(report),
        "cells_listed": len(report.classes) <= _CELLS_UP_TO,
        "confused": most_confused(report),
        "class_metrics": list(CLASS_METRICS.values()),
        "listed": _LISTED,
        "mistakes": len(report.mistakes()),
        "wrong_picked": wrong != report.mistakes()[: len(wrong)],
        "right_picked": right != proposed(report, mistakes=0, right=len(right)),
        "files": {name: row.title for name, row in BUNDLE_FILES.items()},
        "python": in_python(info),
        "names": source.names,
    }


class ClassRow(NamedTuple):
    """A class as the list of pictures shows it."""

    label: int
    name: str
    images: int | None
    """Pictures of it in the data set; None where that was deleted."""
    share: float
    """Of the largest class, 0 to 1."""


def _classes(report: Report, manifest: Manifest | None) -> list[ClassRow]:
    counts = list(manifest.counts().values()) if manifest else []
    largest = max(counts, default=1) or 1
    return [
        ClassRow(label, named(name), counts[label], counts[label] / largest)
        if manifest and label < len(counts)
        else ClassRow(label, named(name), None, 0.0)
        for label, name in enumerate(report.classes[:_LISTED])
    ]


def _left_out(report: Report, manifest: Manifest | None) -> list[str]:
    """What is not among the pictures, as parts of one sentence."""
    counts = [
        (report.refused_files, "file could not be read and was refused", "files could not be read and were refused")
    ]
    if manifest is not None:
        by_hand = 0
        version = manifest
        while version.parent is not None:
            by_hand += len(version.parent.images) - sum(row >= 0 for row in version.parent_rows)
            version = version.parent
        counts += [
            (manifest.passed_over, "other file was no picture", "other files were no pictures"),
            (manifest.dropped_duplicates, "exact copy was left out", "exact copies were left out"),
            (by_hand, "picture was left out by hand", "pictures were left out by hand"),
        ]
    return [plural(number, one, many) for number, one, many in counts if number]
