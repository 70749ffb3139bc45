"""Shows on the Evaluate page on which kinds of pictures a run fails more often than chance explains."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from tl_core.documents.judgements import Slice
from tl_core.documents.report import ImageAnswer
from tl_core.documents.tasks import RunSlices, SlicesSpec
from ui import grids
from ui.evaluate_page import results
from ui.evaluate_page.results import Result
from ui.places import Here
from ui.words import interval, percent, plain, plural

_PAGE = 12
_IN_A_STRIP = 8


def show(here: Here, result: Result) -> None:
    """A button that looks for them, then the kinds that were found, each with its failing pictures."""
    st.subheader("Where it fails", anchor=False, help="Slices with more errors than elsewhere (error analysis)")
    answer = results.panel(
        here,
        result,
        SlicesSpec,
        RunSlices,
        "Look where it fails",
        intro="Small or dark pictures, a folder, pictures that look alike: is it wrong on some of them more often than elsewhere?",
        icon=":material/troubleshoot:",
    )
    if answer:
        _findings(result, answer)


def said(one: Slice) -> str:
    """How often a run is right on a slice and elsewhere, as Markdown."""
    return (
        f"**{percent(one.accuracy)} right** on {one.images:,} {plain(one.name, longest=80)} ({interval(*one.interval)}), "
        f"{percent(one.elsewhere)} on the others"
    )


def _findings(result: Result, found: RunSlices) -> None:
    judged = (
        f"the {plural(found.images, 'picture')} that cross-validation answered"
        if found.judged_by == "cross_validated"
        else f"the {plural(found.images, 'test picture')}"
    )
    if not found.slices:
        st.markdown(f"Too few to tell: {judged} are not enough to divide them.")
        return
    findings, looked_at = found.findings, plural(len(found.slices), "kind")
    were = "was" if len(found.slices) == 1 else "were"
    if not findings:
        st.markdown(f"No kind of picture fails more often than chance explains ({looked_at} {were} looked at).")
    for number, one in enumerate(findings):
        _finding(result, one, number)
    if findings:
        st.markdown("**What to do**: add more such pictures to those that it learns from, then train again.")
    st.caption(
        f"By {judged}, each compared with others of its class. {looked_at[:1].upper()}{looked_at[1:]} {were} looked at, and the test "
        "is corrected for all of them: where nothing but chance is at work, one data set in twenty has a finding. The ranges are for 95 of "
        "100 cases."
    )


def _finding(result: Result, one: Slice, number: int) -> None:
    st.markdown(
        f":material/report: {said(one)}" + (f"  \n:gray[{plain(one.detail, longest=160)}]" if one.detail else "")
    )
    wrong = [answer for answer in one.answers if answer.predicted != answer.truth]
    grids.strip(_thumbnails(result, wrong), alt=f"wrong answers to {one.name}", places=_IN_A_STRIP)
    key = f"slice-{result.run.id}-{number}"
    title = f"All {one.images:,} of them with their answers, the {len(wrong):,} wrong ones first"
    with st.expander(title, icon=":material/photo_library:", key=f"{key}-box", on_change="rerun") as box:
        if box.open:
            classes = result.report.classes
            grids.grid(
                _thumbnails(result, one.answers),
                [_answer(answer, classes) for answer in one.answers],
                key=key,
                page_size=_PAGE,
                tile=120,
            )


def _answer(answer: ImageAnswer, classes: Sequence[str]) -> str:
    named = plain(classes[answer.truth], longest=24)
    if answer.predicted == answer.truth:
        return f":material/check: {named}"
    return f"said **{plain(classes[answer.predicted], longest=24)}**; was **{named}**"


def _thumbnails(result: Result, answers: Sequence[ImageAnswer]) -> list[Path]:
    return [path for path in map(result.thumbnail, answers) if path]
