"""Shows on the Compare page the pictures to which two runs give different answers."""

from itertools import combinations
from pathlib import Path

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from tl_core.documents.manifest import Manifest
from tl_core.errors import GraftError
from tl_core.runs.comparing import Together
from tl_core.runs.store.folders import DatasetFolder
from ui import grids, listing
from ui.compare_page.choosing import LETTERS
from ui.places import Here, pictures_of
from ui.words import percent, plain, plural

_PAGE = 12


def show(here: Here, found: Together) -> None:
    """Both answers and the truth of each picture on which a pair of the runs differs, by who is right."""
    st.subheader("Where they differ", anchor=False)
    pairs = list(combinations(range(len(found.runs)), 2))
    pair = pairs[0]
    if len(pairs) > 1:
        pair = st.selectbox(
            "Which two",
            pairs,
            format_func=lambda one: f"{LETTERS[one[0]]} and {LETTERS[one[1]]}",
            key="differing-pair",
            width=200,
        )
    a, b = (LETTERS[at] for at in pair)
    kinds = by_kind(found, pair)
    differ = sum(map(len, kinds.values()))
    if not differ:
        st.markdown(f"Nowhere: both say the same of all {plural(len(found.pictures), 'picture')}.")
        return
    titles = {
        "only_a": f"Only {a} right",
        "only_b": f"Only {b} right",
        "both_wrong": "Both wrong, differently",
    }
    first = next(kind for kind, places in kinds.items() if len(places))
    kind = st.segmented_control(
        f"{plural(differ, 'picture')} of {len(found.pictures):,}",
        list(titles),
        format_func=lambda one: f"{titles[one]} ({len(kinds[one]):,})",
        default=first,
        required=True,
        key=f"differing-{a}{b}",
    )
    places = kinds[kind]
    if not len(places):
        st.markdown("No picture.")
        return
    _pictures(here, found, pair, places.tolist(), key=f"differing-{a}{b}-{kind}")


def by_kind(found: Together, pair: tuple[int, int]) -> dict[str, NDArray[np.intp]]:
    """The places of the pictures on which the two runs differ: `only_a` is right, `only_b`, or `both_wrong`; the surest wrong answers first."""
    first, second = (found.answers[at] for at in pair)
    a, b = first == found.truth, second == found.truth
    sure = np.maximum(*(np.where(hit, 0.0, found.probabilities[at]) for at, hit in zip(pair, (a, b), strict=True)))
    order = np.argsort(-sure, kind="stable")
    kinds = {"only_a": a & ~b, "only_b": b & ~a, "both_wrong": ~a & ~b & (first != second)}
    return {kind: order[chosen[order]] for kind, chosen in kinds.items()}


def _pictures(here: Here, found: Together, pair: tuple[int, int], places: list[int], *, key: str) -> None:
    sources = _sources(here, found)
    if not sources:
        st.caption("The data sets were deleted, so the pictures cannot be shown.")
        _listed(found, pair, places, key=key)
        return
    paths = [_thumbnail(sources, found, place) for place in places]
    shown = [(path, place) for path, place in zip(paths, places, strict=True) if path]
    captions = []
    for _, place in shown:
        said = [
            f"{LETTERS[at]}: {'**' if right else ''}{plain(found.classes[answer], longest=24)}{'**' if right else ''}, {percent(sure)}"
            for at, answer, right, sure in _answers(found, pair, place)
        ]
        captions.append("  \n".join([f"was **{plain(found.classes[found.truth[place]], longest=24)}**", *said]))
    grids.grid([path for path, _ in shown], captions, key=key, page_size=_PAGE, tile=150)


def _answers(found: Together, pair: tuple[int, int], place: int) -> list[tuple[int, int, bool, float]]:
    """Of each of the two runs: its place, what it said, whether that is right, and how sure it was."""
    return [
        (at, int(said[place]), bool(said[place] == found.truth[place]), float(found.probabilities[at, place]))
        for at in pair
        for said in [found.answers[at]]
    ]


def _sources(here: Here, found: Together) -> list[tuple[int, DatasetFolder, Manifest]]:
    """The data sets that are still there, each with the place of the run that learned from it."""
    there = []
    for at, one in enumerate(found.tested):
        try:
            data = pictures_of(one.run, here.workspace)
            if data:
                there.append((at, data, data.manifest()))
        except GraftError:
            continue
    return there


def _thumbnail(sources: list[tuple[int, DatasetFolder, Manifest]], found: Together, place: int) -> Path | None:
    at, data, manifest = sources[0]
    one = found.tested[at]
    return data.thumbnail(manifest.images[one.answers[found.pictures[place]].row])


def _listed(found: Together, pair: tuple[int, int], places: list[int], *, key: str) -> None:
    """The answers as a table, where there are no pictures to show."""
    rows = [(found.classes[found.truth[place]], _answers(found, pair, place)) for place in places]
    table = {"It was": [truth for truth, _ in rows]}
    for side, at in enumerate(pair):
        table[f"{LETTERS[at]} said"] = [found.classes[answers[side][1]] for _, answers in rows]
    listing.table(table, key=f"{key}-table")
