"""Shows on the Evaluate page whether the probabilities hold, and what is left when unsure answers are withheld."""

import numpy as np
import streamlit as st

from tl_core.errors import GraftError
from tl_core.evaluation.calibration import BIN_IMAGES, reliability, withheld
from tl_core.runs.finished import keep_threshold, kept_threshold
from tl_core.runs.store.folders import RunFolder
from ui import charts
from ui.actions import attempt
from ui.evaluate_page.results import Result
from ui.words import NARROW, interval, percent, plural

_AT_FIRST = 90
"""Percent at which the slider stands until somebody moves it: from there on the Predict page calls an answer sure."""


def show(result: Result) -> None:
    """The reliability diagram of the held-out answers, and a slider for the least probability of an answer."""
    st.subheader("How sure, and how often right", anchor=False, help="Calibration, as a reliability diagram")
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _diagram(result)
    with right:
        st.fragment(_slider)(result)


def _diagram(result: Result) -> None:
    answers = result.report.answers
    confidence = np.array([answer.probability for answer in answers])
    right = np.array([answer.predicted == answer.truth for answer in answers], dtype=bool)
    calibration = reliability(confidence, right)
    before = result.report.calibration.before
    groups = calibration.bins
    figure = charts.reliability(
        [group.confidence for group in groups],
        [group.accuracy for group in groups],
        [group.interval for group in groups],
        [group.images for group in groups],
        [(group.confidence, group.accuracy) for group in before.bins],
        title=f"{percent(confidence.mean())} sure on average, and {percent(right.mean())} right",
    )
    alt = f"Reliability diagram; expected calibration error {_points(calibration.ece)}"
    charts.show(figure, key=f"reliability-{result.run.id}", alt=alt)
    few = (
        ""
        if result.report.test.images >= 5 * BIN_IMAGES
        else " With so few pictures, much of the distance may be chance."
    )
    st.caption(
        f"Expected calibration error: {_points(calibration.ece)}, {_points(before.ece)} before its probabilities were scaled. Each point is {plural(groups[0].images, 'picture')} or about as "
        f"many; below the dotted line it is surer than it is right.{few}"
    )


def _slider(result: Result) -> None:
    threshold = st.slider(
        "Answer only when at least this sure",
        0,
        99,
        _AT_FIRST,
        format=f"%d{NARROW}%%",
        key=f"threshold-{result.run.id}",
        persist_state="session",
        help="A threshold on the probability of the answer (selective classification)",
    )
    selection = withheld(result.report.answers, threshold / 100)
    coverage = f"**{percent(selection.coverage)}** of the pictures answered ({interval(*selection.coverage_interval)})"
    if selection.accuracy is None:
        st.markdown(f"No answer is {threshold}{NARROW}% sure or more.")
        _keeping(result.run, threshold)
        return
    st.markdown(
        f"{coverage},  \n**{percent(selection.accuracy)}** of them right ({interval(*selection.accuracy_interval)})"
    )
    st.caption(
        f"{selection.answered:,} of {plural(selection.images, 'test picture')}; {selection.right:,} are right. The ranges are for 95 of 100 cases. "
        "A threshold that was chosen for its figure here will do a little worse on new pictures."
    )
    _keeping(result.run, threshold)


def _keeping(run: RunFolder, percent_sure: int) -> None:
    """The threshold that the bundle has, and buttons that keep the one of the slider, or take it away."""
    try:
        threshold = kept_threshold(run)
    except GraftError:
        # Without a bundle there is nothing to keep it in; the page says so below.
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        same = threshold is not None and round(100 * threshold) == percent_sure
        st.button(
            "Keep in the bundle",
            key=f"keep-threshold-{run.id}",
            icon=":material/save:",
            help="The Predict page, predict and the bundle itself then call every answer below it not sure.",
            disabled=same or percent_sure == 0,
            on_click=attempt,
            args=(None, keep_threshold, run, percent_sure / 100),
        )
        if threshold is not None:
            st.button(
                "Take it out",
                key=f"clear-threshold-{run.id}",
                icon=":material/close:",
                type="tertiary",
                on_click=attempt,
                args=(None, keep_threshold, run, None),
            )
    if threshold is not None:
        st.caption(f":material/check: The bundle has {percent(threshold)}: answers below that are “not sure”.")


def _points(share: float) -> str:
    """A distance of two shares: 0.034 as "3.4 points"."""
    return f"{100 * share:.1f} points"
