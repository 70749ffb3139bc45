"""Shows on the Compare page which run is better, and what each reached and cost."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import streamlit as st

from tl_core.data.split import HELD_OUT
from tl_core.documents.verdict import Comparison
from tl_core.runs.comparing import Together
from tl_core.runs.store.folders import RunFolder
from ui import listing, runview
from ui.compare_page.choosing import LETTERS
from ui.places import EVALUATE, PRESENT, Here
from ui.words import interval, percent, plain, plural


def show(here: Here, found: Together) -> None:
    """The verdict as a headline, how it came about, what to keep in mind, a table of the runs, and the ways on to each."""
    letters = LETTERS[: len(found.runs)]
    pairs = list(combinations(letters, 2))
    st.header(headline(told_apart(found.runs) if len(pairs) == 1 else pairs, found.comparisons), anchor=False)
    units = found.comparisons[0].groups
    alone = units == len(found.pictures)
    grouped = "" if alone else f", in {units:,} groups of pictures that show the same thing,"
    st.caption(
        f"On the {plural(len(found.pictures), 'test picture')}{grouped} that all of these runs were judged on and none learned from. "
        + (_details(found.comparisons[0]) if len(pairs) == 1 else _CORRECTED)
    )
    for caution in found.cautions(lambda name: plain(name, longest=24)):
        st.warning(caution, icon=":material/warning:")
    _table(found, letters)
    _ways_on(here, found, letters)
    if len(pairs) > 1:
        _pairs(pairs, found.comparisons)


_CORRECTED = (
    "“Better” and “worse” are said where chance would favour one of two equally good runs as much in less than one of twenty cases, corrected "
    "for the number of pairs (McNemar's exact test, Holm's correction)."
)


def told_apart(runs: Sequence[RunFolder]) -> list[tuple[str, str]]:
    """The letters of two runs, each with the settings in brackets that the other does not have, as literal text in Markdown."""
    a, b = (runview.settings(run) for run in runs)
    own = ([part for part in a if part not in b], [part for part in b if part not in a])
    first, second = (
        f"{letter} ({plain(', '.join(parts), longest=80)})" if parts else letter
        for letter, parts in zip(LETTERS, own, strict=False)
    )
    return [(first, second)]


def headline(pairs: list[tuple[str, str]], comparisons: tuple[Comparison, ...]) -> str:
    """What was found, in a sentence; `pairs` name the two runs of each comparison, in Markdown."""
    if len(pairs) == 1:
        (a, b), one = pairs[0], comparisons[0]
        return f"{b} is {one.said} than {a}" if one.verdict != "cannot_tell" else f"{one.said[0].upper()}{one.said[1:]}"
    better = [
        (b, a) if one.verdict == "better" else (a, b)
        for (a, b), one in zip(pairs, comparisons, strict=True)
        if one.verdict != "cannot_tell"
    ]
    pictures = plural(comparisons[0].images, "picture")
    if not better:
        return f"Cannot tell any two of them apart with {pictures}"
    winners = dict.fromkeys(winner for winner, _ in better)
    said = ", ".join(
        f"{winner} is better than {_listed([loser for one, loser in better if one == winner])}" for winner in winners
    )
    return said if len(better) == len(pairs) else f"{said}; the others cannot be told apart with {pictures}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _details(one: Comparison) -> str:
    low, high = one.interval
    points = f"{100 * one.difference:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})".replace("-", "−")
    return (
        f"Accuracy of B minus that of A: {points}. Two equally good runs would differ by as much in {percent(one.p_value)} of cases (McNemar's exact "
        "test); below 5 %, one is called better."
        + (_NEEDED if one.images_needed else "")
        + (_EXACT if one.verdict == "cannot_tell" and not low <= 0 <= high else "")
    )


_NEEDED = f" The number of pictures that would tell is one of test pictures, which are about {percent(HELD_OUT)} of a data set."
_EXACT = " The range leaves out no difference, but it is an approximation: with so few answers that differ, the exact test decides."


def _table(found: Together, letters: str) -> None:
    rows = list(zip(letters, found.figures, found.runs, strict=True))
    table: dict[str, Sequence[object]] = {
        "Run": [f"{letter}  {figures.name}" for letter, figures, _ in rows],
        "Right": [100 * figures.accuracy for _, figures, _ in rows],
        "In 95 of 100 cases": [interval(*figures.interval) for _, figures, _ in rows],
        "Seconds": [figures.seconds for _, figures, _ in rows],
        "MB": [figures.megabytes for _, figures, _ in rows],
        "How": [runview.described(run) for _, _, run in rows],
    }
    config = {
        "Run": st.column_config.TextColumn(width=180),
        "Right": st.column_config.NumberColumn(
            help="Share of these pictures that it named rightly", format="%.1f %%", width=70
        ),
        "In 95 of 100 cases": st.column_config.TextColumn(
            help="The range that holds the true share in 95 of 100 cases", width=110
        ),
        "Seconds": st.column_config.NumberColumn(
            help="The whole run, without waiting; what was computed before and kept took none", format="%.1f", width=80
        ),
        "MB": st.column_config.NumberColumn(help="Size of its bundle", format="%.1f", width=70),
        "How": st.column_config.TextColumn(
            help="Backbone, strategy, and the version of the data set unless it is the first"
        ),
    }
    listing.table(table, config=config, key="compared-runs")


def _ways_on(here: Here, found: Together, letters: str) -> None:
    with st.container(horizontal=True, gap="small"):
        for letter, run in zip(letters, found.runs, strict=True):
            for place in (EVALUATE, PRESENT):
                label, key = f"{place.name} {letter}", f"{place.name}-{run.id}"
                if st.button(label, key=key, icon=place.icon, type="tertiary"):
                    here.go(place, run=run.id)


def _pairs(pairs: list[tuple[str, str]], comparisons: tuple[Comparison, ...]) -> None:
    table: dict[str, Sequence[object]] = {
        "Pair": [f"{b} against {a}" for a, b in pairs],
        "Verdict": [one.said for one in comparisons],
        "Points": [100 * one.difference for one in comparisons],
        "From": [100 * one.interval[0] for one in comparisons],
        "To": [100 * one.interval[1] for one in comparisons],
        "p": [one.p_value for one in comparisons],
        "Differ": [one.differ for one in comparisons],
    }
    config = {
        "Pair": st.column_config.TextColumn(width=100),
        "Points": st.column_config.NumberColumn(
            help="Difference in accuracy, percentage points", format="%+.1f", width=70
        ),
        "From": st.column_config.NumberColumn(help="Its 95 % interval", format="%+.1f", width=60),
        "To": st.column_config.NumberColumn(help="Its 95 % interval", format="%+.1f", width=60),
        "p": st.column_config.NumberColumn(help="Corrected p-value", format="%.3f", width=60),
        "Differ": st.column_config.NumberColumn(help="Pictures on which the answers differ", width=60),
    }
    listing.table(table, config=config, key="compared-pairs")
