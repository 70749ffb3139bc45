"""Tell the story of a run, a dialog on Evaluate: which mistakes and which right answers it shows, how large it is, and its download.

The session holds what the story is told from and which pictures are ticked, so that a tick costs no more than writing the file again.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import streamlit as st

from tl_core.documents.report import ImageAnswer, Report
from tl_core.errors import GraftError
from tl_core.runs.finished import source_of
from tl_core.runs.store.folders import RunFolder
from tl_core.statements import Source
from tl_core.story.html import story
from tl_core.story.pictures import MOST_PICKED, proposed
from ui import grids
from ui.evaluate_page.results import Result
from ui.words import file_stem, percent, plain, plural

_KEY = "story"
_PAGE = 8
_TILE = 128
"""Pixels."""


@dataclass
class _Telling:
    """A story that is being put together."""

    run: str
    source: Source | None = None
    ticked: set[int] = field(default_factory=set)
    """Rows of the answers that are shown."""
    names: bool = False


def offer(run: RunFolder) -> None:
    """The button that opens the dialog."""
    st.button(
        "Tell the story",
        key=f"story-{run.id}",
        icon=":material/auto_stories:",
        help="One file for whoever was not there: the pictures, the result, the mistakes, what it cannot do",
        on_click=_open,
        args=(run,),
    )


def show(result: Result) -> None:
    """The dialog, where it is open for the run of `result`."""
    telling: _Telling | None = st.session_state.get(_KEY)
    if telling is not None and telling.run == result.run.id:
        st.dialog(
            "Tell the story",
            width="large",
            icon=":material/auto_stories:",
            on_dismiss=lambda: st.session_state.pop(_KEY, None),
        )(_body)(result, telling)


def _open(run: RunFolder) -> None:
    st.session_state[_KEY] = _Telling(run.id)


def _body(result: Result, telling: _Telling) -> None:
    try:
        source = _gathered(result.run, telling)
    except GraftError as error:
        st.error(plain(error.message, longest=400), icon=":material/error:")
        return
    st.markdown(
        "One file for whoever was not there: what it learned from, how good it is, its mistakes as pictures, and what it cannot do. "
        "It opens in any browser without a network, and prints well."
    )
    place = st.container()
    if source.manifest is None:
        st.caption("The data set was deleted, so the story has no pictures, and says so.")
    else:
        wrong, right = source.report.mistakes(), _right(source.report)
        _tick(result, telling, "Mistakes that it shows, those that it was surest of first", wrong, key="wrong")
        _tick(result, telling, "Right answers that it shows", right, key="right")
        telling.names = st.checkbox(
            "Write the names of files into it",
            value=telling.names,
            key=f"story-names-{telling.run}",
            help="Under their pictures; and of the folder or group, where it fails on one. Without this, no file, folder or group is named.",
        )
    with place:
        _download(result, telling, source)


def _gathered(run: RunFolder, telling: _Telling) -> Source:
    """What the story is told from, read once while the dialog is open. Raises GraftError."""
    if telling.source is None:
        with st.spinner("Gathering what is known of this run"):
            telling.source = source_of(run)
        if telling.source.manifest is not None:
            telling.ticked = {answer.row for answer in proposed(telling.source.report)}
    return telling.source


def _right(report: Report) -> list[ImageAnswer]:
    """The right answers: those that are proposed, then the first of each class, the second of each, and so on."""
    first = proposed(report, mistakes=0)
    of_class: Counter[int] = Counter()
    others = []
    for answer in report.answers:
        if answer.truth == answer.predicted and answer not in first:
            others.append((of_class[answer.truth], answer.truth, answer))
            of_class[answer.truth] += 1
    return [*first, *(answer for *_, answer in sorted(others, key=lambda other: other[:2]))]


def _tick(result: Result, telling: _Telling, title: str, answers: Sequence[ImageAnswer], *, key: str) -> None:
    """A page of `answers` as pictures, each with a box to tick."""
    if not answers:
        return
    ticked = sum(answer.row in telling.ticked for answer in answers)
    st.markdown(f"**{title}** :gray[{ticked:,} of {len(answers):,}]")
    full, classes = len(telling.ticked) >= MOST_PICKED, result.report.classes

    def box(number: int) -> None:
        answer = answers[number]
        called, was = (plain(classes[label], longest=24) for label in (answer.predicted, answer.truth))
        words = f"said **{called}**, was **{was}**" if answer.predicted != answer.truth else f"rightly **{called}**"
        st.checkbox(
            f"{words}, {percent(answer.probability)}",
            value=answer.row in telling.ticked,
            disabled=full and answer.row not in telling.ticked,
            key=f"story-{telling.run}-{answer.row}",
            on_change=_toggle,
            args=(telling, answer.row),
        )

    alts = [f"{classes[answer.truth]}, called {classes[answer.predicted]}" for answer in answers]
    captions, name = [""] * len(answers), f"story-{key}-{telling.run}"
    grids.grid(result.thumbnails(answers), captions, key=name, page_size=_PAGE, tile=_TILE, alts=alts, under=box)


def _toggle(telling: _Telling, row: int) -> None:
    telling.ticked ^= {row}


def _download(result: Result, telling: _Telling, source: Source) -> None:
    offered = [*source.report.mistakes(), *_right(source.report)]
    chosen = [answer for answer in offered if answer.row in telling.ticked]
    made = story(replace(source, names=telling.names), chosen)
    wrong = sum(answer.truth != answer.predicted for answer in made.answers)
    pictures = f" with {plural(wrong, 'mistake')} and {plural(len(made.answers) - wrong, 'right answer')} as pictures"
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download the story",
            made.html.encode(),
            file_name=f"{file_stem(result.run.name)}-story.html",
            mime="text/html",
            type="primary",
            icon=":material/download:",
            on_click="ignore",
            key=f"story-download-{telling.run}",
        )
        st.caption(f"{-(-made.bytes // 1000):,} kB{pictures if source.manifest else ''}", width="content")
    if len(telling.ticked) >= MOST_PICKED:
        st.caption(f"A story shows {MOST_PICKED} answers at most.")
    if made.left_out and source.manifest:
        were = "was" if made.left_out == 1 else "were"
        st.caption(f"{made.left_out:,} more {were} ticked: the picture is gone, or the file would be larger than 3 MB.")
