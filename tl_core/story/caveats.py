"""What a classifier cannot do, as far as its report, the checks of its pictures and what was asked about it know."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from tl_core.data.checks import FEW, Finding, distinct
from tl_core.data.split import group_keys
from tl_core.documents.judgements import Slice
from tl_core.documents.manifest import Manifest
from tl_core.documents.report import ImageAnswer, Report, record_again
from tl_core.evaluation.calibration import selective_answers
from tl_core.evaluation.corruptions import CORRUPTIONS
from tl_core.evaluation.intervals import accuracy_interval
from tl_core.evaluation.slice_kinds import KINDS
from tl_core.markdown import short
from tl_core.story.names import enumerated, named
from tl_core.story.source import Source
from tl_core.wording import NARROW, SURE, interval, percent, plural

_ENOUGH_TO_JUDGE = FEW
"""Test pictures of a class below which its own figures say little."""
_TOLD_AS_THEY_ARE = {
    "shortcut": "There may be a shortcut",
    "imbalance": "Some classes have many more pictures than others",
}
"""Titles of the findings of `data.checks` whose message names classes at most, by their kind."""


class Limit(NamedTuple):
    """One thing that it cannot do."""

    title: str
    text: str
    """Sentences. Names that users typed are in them as they are, but short."""


def limits(source: Source, *, names: bool) -> list[Limit]:
    """What whoever uses it has to know, what holds for every classifier first. `names`: whether names of files, folders and groups may be told."""
    return [
        *of_report(source.report, source.manifest, threshold=source.info.threshold),
        *_of_data(source),
        *_failing(source, names=names),
        *_corrupted(source),
    ]


def of_report(report: Report, manifest: Manifest | None, *, threshold: float | None = None) -> list[Limit]:
    """Those limits that its report alone tells, in the same order.

    `manifest`: of the pictures that it is about; None where they were deleted, and then nobody knows which of them show the same thing.
    `threshold`: the bundle's, where it has one.
    """
    return [*_always(report), *_weakest(report, manifest), *_sureness(report, threshold), *_few_judged(report)]


def _always(report: Report) -> Iterator[Limit]:
    yield Limit(
        "It always answers with one of its classes",
        f"It knows these {len(report.classes):,} and no others: a picture that shows none of them gets one of their names, too.",
    )
    yield Limit(
        "It was judged on pictures like those that it learned from",
        "Another camera, another place or another season can be harder, and no figure here says by how much.",
    )
    if report.one_moment:
        again = record_again([named(name) for name in report.one_moment])
        yield Limit("Its accuracy is not known yet", f"{again}. Until then no figure here says how often it is right.")
    if report.leak:
        shows = "shows" if report.leak.images == 1 else "show"
        without = report.leak.without
        rest = (
            "There are no others to judge by."
            if without is None
            else f"Without them, {percent(without.accuracy)} of {plural(without.images, 'picture')} are named rightly "
            f"({interval(*without.interval)})."
        )
        yield Limit(
            "Some test pictures are like ones that it learned from",
            f"{plural(report.leak.images, 'picture')} of {report.test.images:,} {shows} the same thing, and may be named rightly for that. {rest}",
        )


def _weakest(report: Report, manifest: Manifest | None) -> Iterator[Limit]:
    counts = np.array(report.test.confusion, dtype=np.int64)
    judged = [row for row in range(len(counts)) if counts[row].sum()]
    found = {row: counts[row, row] / counts[row].sum() for row in judged}
    if len(set(found.values())) < 2:
        return
    row = min(judged, key=found.__getitem__)
    right, of = int(counts[row, row]), int(counts[row].sum())
    answers = [answer for answer in report.answers if answer.truth == row]
    range_of = accuracy_interval(
        np.array([answer.predicted == row for answer in answers], dtype=bool),
        group_keys(manifest)[[answer.row for answer in answers]] if manifest else None,
    )
    yield Limit(
        f"It is right least often on {named(report.classes[row])}",
        f"Of {plural(of, 'test picture')} of this class, {right:,} {'was' if right == 1 else 'were'} named rightly: {percent(right / of)} "
        f"({interval(*range_of)}). Of all test pictures it is {percent(report.test.accuracy)}.",
    )


def _sureness(report: Report, threshold: float | None) -> Iterator[Limit]:
    error = report.calibration.after.ece
    wrong, images = report.mistakes(), len(report.answers)
    mean = float(np.mean([answer.probability for answer in report.answers])) if images else 0.0
    yield Limit(
        "It is surer than it is right" if mean > report.test.interval[1] else "Sure is not the same as right",
        f"How sure it says it is and how often it is right differ by {100 * error:.1f} percentage points on average (expected calibration "
        f"error, on {plural(images, 'test picture')}).{_sure_of_mistakes(wrong)}",
    )
    if threshold is not None and images:
        kept = selective_answers(
            np.array([answer.probability for answer in report.answers]),
            np.array([answer.predicted == answer.truth for answer in report.answers], dtype=bool),
            threshold=threshold,
        )
        right = "" if kept.accuracy is None else f", and {percent(kept.accuracy)} of these are right"
        yield Limit(
            "It may say that it is not sure",
            f"An answer below {100 * threshold:.3g}{NARROW}% counts as “not sure” (threshold). Of {plural(images, 'test picture')}, "
            f"{percent(kept.coverage)} got an answer{right}.",
        )


def _sure_of_mistakes(wrong: Sequence[ImageAnswer]) -> str:
    """How many of the mistakes it was sure of, as a further sentence; empty where there are none."""
    if not wrong:
        return ""
    sure = sum(answer.probability >= SURE for answer in wrong)
    return f" It was {percent(SURE)} sure or more in {sure:,} of its {plural(len(wrong), 'mistake')}."


def _few_judged(report: Report) -> Iterator[Limit]:
    rows = report.test.per_class
    few = [row for row in rows if row.support < _ENOUGH_TO_JUDGE]
    if few:
        yield Limit(
            f"{'All' if len(few) == len(rows) else 'Some'} classes were judged on few pictures",
            f"{enumerated([f'{named(row.name)} ({row.support:,})' for row in few])}: fewer than {_ENOUGH_TO_JUDGE} test pictures each, so "
            f"a single one moves the share of its class by more than {100 // _ENOUGH_TO_JUDGE} percentage points.",
        )


def _of_data(source: Source) -> Iterator[Limit]:
    manifest = source.manifest
    few = (
        [f"{named(name)} ({count:,})" for name, count in distinct(manifest).items() if count < FEW] if manifest else []
    )
    if manifest and few:
        yield Limit(
            "Some classes have few pictures",
            f"{enumerated(few)}{' to learn from' if manifest.own_splits else ''}. {FEW} or more of each would make the result steadier.",
        )
    for finding in source.findings:
        if finding.kind in _TOLD_AS_THEY_ARE:
            yield Limit(_TOLD_AS_THEY_ARE[finding.kind], short(finding.message, longest=600))
        elif finding.kind in _TOLD_WITHOUT_NAMES:
            title, text = _TOLD_WITHOUT_NAMES[finding.kind]
            yield Limit(title, text.format(pictures=_pictures(finding)))


def _pictures(finding: Finding) -> str:
    count = len(finding.rows)
    return f"{plural(count, 'picture')} {'is' if count == 1 else 'are'}"


_TOLD_WITHOUT_NAMES = {
    "near_copy": (
        "Some pictures are near-copies of each other",
        "{pictures} in groups that show the same thing, so there are fewer different things than pictures. A group was either learned from or "
        "judged on, never both, unless the split was given.",
    ),
    "suspect_label": (
        "Some labels may be wrong",
        "{pictures} perhaps sorted into the wrong class. Such a picture counts as a mistake where the answer is right.",
    ),
    "two_labels": (
        "Some pictures are in two classes",
        "{pictures} in more than one class at once; one answer to them must count as wrong.",
    ),
}
"""Title and text of findings whose own message names files, by their kind."""


def _failing(source: Source, *, names: bool) -> Iterator[Limit]:
    if source.slices is None:
        return
    for one in source.slices.findings:
        yield Limit(
            f"It fails more often on {_called(one, names=names)}",
            f"{percent(one.accuracy)} right on {plural(one.images, 'picture')} ({interval(*one.interval)}), {percent(one.elsewhere)} on the "
            f"others of the same classes; chance does not explain it ({plural(len(source.slices.slices), 'kind')} of pictures looked at).",
        )


def _called(one: Slice, *, names: bool) -> str:
    row = KINDS.get(one.kind)
    if not names and (row is None or row.called):
        return row.called if row else "some of its pictures"
    detail = f" ({named(one.detail, longest=80)})" if one.detail else ""
    return f"{named(one.name, longest=80)}{detail}"


def _corrupted(source: Source) -> Iterator[Limit]:
    found = source.robustness
    if found is None:
        return
    costly = [
        f"{CORRUPTIONS[effect.corruption].title} ({effect.strengths[-1].strength}: {percent(effect.strengths[-1].accuracy)} right, "
        f"{interval(*effect.strengths[-1].interval)})"
        for name in found.hurt_most
        for effect in found.effects
        if effect.corruption == name and name in CORRUPTIONS
    ]
    asked = f"{plural(found.images, 'test picture')} were changed and asked about again"
    as_they_are = f"{percent(found.clean.accuracy)} of them are named rightly as they are"
    if costly:
        yield Limit(
            "Changed pictures are harder", f"{asked}; {as_they_are}. What costs the most: {enumerated(costly)}."
        )
    else:
        yield Limit("Changed pictures", f"{asked}; {as_they_are}. No change costs more than chance explains.")
