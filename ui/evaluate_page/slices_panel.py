"""Shows on the Evaluate page on which kinds of pictures a run fails more often than chance explains."""

from collections.abc import Sequence

import streamlit as st

from tl_core.documents.report import ImageAnswer, Slice
from tl_core.documents.tasks import RunSlices, SlicesSpec
from tl_core.statements import failing
from ui import grids
from ui.evaluate_page import results
from ui.evaluate_page.results import Result
from ui.places import Here
from ui.words import plain, plural

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
    if not answer:
        return
    whose = "picture that cross-validation answered" if answer.judged_by == "cross_validated" else "test picture"
    judged = plural(answer.images, whose, whose.replace("picture", "pictures"))
    if not answer.slices:
        st.markdown(f"Too few to tell: {judged} are not enough to divide them.")
        return
    findings, count = answer.findings, len(answer.slices)
    for number, pictures in enumerate(findings):
        title, text = failing(pictures, count, names=True)
        st.markdown(f":material/report: **{plain(title, longest=300)}.** {text}")
        _pictures(result, pictures, number)
    st.markdown(
        "**What to do**: add more such pictures to those that it learns from, then train again."
        if findings
        else f"No kind of picture fails more often than chance explains ({plural(count, 'kind')} looked at)."
    )
    st.caption(
        f"By {judged}, each compared with others of its class. The test is corrected for all kinds that were looked at: where nothing but chance "
        "is at work, one data set in twenty has a finding. The ranges are for 95 of 100 cases."
    )


def _pictures(result: Result, pictures: Slice, number: int) -> None:
    """The wrong answers to a slice, and all of it in a folded box."""
    wrong = [answer for answer in pictures.answers if answer.predicted != answer.truth]
    grids.strip(result.thumbnails(wrong), alt=f"wrong answers to {pictures.name}", places=_IN_A_STRIP)
    key = f"slice-{result.run.id}-{number}"
    title = f"All {pictures.images:,} of them with their answers, the {len(wrong):,} wrong ones first"
    with st.expander(title, icon=":material/photo_library:", key=f"{key}-box", on_change="rerun") as box:
        if box.open:
            captions = [_caption(answer, result.report.classes) for answer in pictures.answers]
            results.pictures(result, pictures.answers, captions, key=key, tile=120)


def _caption(answer: ImageAnswer, classes: Sequence[str]) -> str:
    named = plain(classes[answer.truth], longest=24)
    if answer.predicted == answer.truth:
        return f":material/check: {named}"
    return f"said **{plain(classes[answer.predicted], longest=24)}**; was **{named}**"
