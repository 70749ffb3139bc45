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


def show(here: Here, compared: Together) -> None:
    """Both answers and the truth of each picture on which a pair of the runs differs, by who is right."""
    st.subheader("Where they differ", anchor=False)
    pairs = list(combinations(range(len(compared.runs)), 2))
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
    kinds = by_kind(compared, pair)
    differ = sum(map(len, kinds.values()))
    if not differ:
        st.markdown(f"Nowhere: both say the same of all {plural(len(compared.pictures), 'picture')}.")
        return
    titles = {
        "only_a": f"Only {a} right",
        "only_b": f"Only {b} right",
        "both_wrong": "Both wrong, differently",
    }
    first = next(kind for kind, places in kinds.items() if len(places))
    kind = st.segmented_control(
        f"{plural(differ, 'picture')} of {len(compared.pictures):,}",
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
    _pictures(here, compared, pair, places.tolist(), key=f"differing-{a}{b}-{kind}")


def by_kind(compared: Together, pair: tuple[int, int]) -> dict[str, NDArray[np.intp]]:
    """The places of the pictures on which the two runs differ: `only_a` is right, `only_b`, or `both_wrong`; the surest wrong answers first."""
    first, second = (compared.answers[at] for at in pair)
    a, b = first == compared.truth, second == compared.truth
    sure = np.maximum(*(np.where(hit, 0.0, compared.probabilities[at]) for at, hit in zip(pair, (a, b), strict=True)))
    order = np.argsort(-sure, kind="stable")
    kinds = {"only_a": a & ~b, "only_b": b & ~a, "both_wrong": ~a & ~b & (first != second)}
    return {kind: order[chosen[order]] for kind, chosen in kinds.items()}


def _pictures(here: Here, compared: Together, pair: tuple[int, int], places: list[int], *, key: str) -> None:
    sources = _sources(here, compared)
    if not sources:
        st.caption("The data sets were deleted, so the pictures cannot be shown.")
        _listed(compared, pair, places, key=key)
        return
    paths = [_thumbnail(sources, compared, place) for place in places]
    shown = [(path, place) for path, place in zip(paths, places, strict=True) if path]
    captions = []
    for _, place in shown:
        lines = [
            f"{LETTERS[at]}: {'**' if right else ''}{plain(compared.classes[answer], longest=24)}{'**' if right else ''}, {percent(sure)}"
            for at, answer, right, sure in _answers(compared, pair, place)
        ]
        captions.append("  \n".join([f"was **{plain(compared.classes[compared.truth[place]], longest=24)}**", *lines]))
    grids.grid([path for path, _ in shown], captions, key=key, page_size=_PAGE, tile=150)


def _answers(compared: Together, pair: tuple[int, int], place: int) -> list[tuple[int, int, bool, float]]:
    """Of each of the two runs: its place, what it said, whether that is right, and how sure it was."""
    return [
        (
            at,
            int(answers[place]),
            bool(answers[place] == compared.truth[place]),
            float(compared.probabilities[at, place]),
        )
        for at in pair
        for answers in [compared.answers[at]]
    ]


def _sources(here: Here, compared: Together) -> list[tuple[int, DatasetFolder, Manifest]]:
    """The data sets that are still there, each with the place of the run that learned from it."""
    there = []
    for at, tested in enumerate(compared.tested):
        try:
            data = pictures_of(tested.run, here.workspace)
            if data:
                there.append((at, data, data.manifest()))
        except GraftError:
            continue
    return there


def _thumbnail(sources: list[tuple[int, DatasetFolder, Manifest]], compared: Together, place: int) -> Path | None:
    at, data, manifest = sources[0]
    tested = compared.tested[at]
    return data.thumbnail(manifest.images[tested.answers[compared.pictures[place]].row])


def _listed(compared: Together, pair: tuple[int, int], places: list[int], *, key: str) -> None:
    """The answers as a table, where there are no pictures to show."""
    rows = [(compared.classes[compared.truth[place]], _answers(compared, pair, place)) for place in places]
    table = {"It was": [truth for truth, _ in rows]}
    for side, at in enumerate(pair):
        table[f"{LETTERS[at]} said"] = [compared.classes[answers[side][1]] for _, answers in rows]
    listing.table(table, key=f"{key}-table")
