"""The Predict page: classifies new pictures with the bundle that can be downloaded."""

import streamlit as st

from tl_core.errors import LimitReached
from ui import bundle_download, prediction, runview, why, workspace
from ui.places import PREDICT, pictures_of, touring
from ui.words import plain

with workspace.page(PREDICT) as here:
    prediction.get_ready()
    run = runview.chooser(here)
    problem = st.session_state.pop("predict-problem", None)
    if problem:
        st.error(plain(problem, longest=600), icon=":material/error:")
    kept = prediction.answers(run)
    sentence = runview.accuracy(run)
    if sentence:
        st.caption(f"{plain(run.name)}: {sentence}")
    left, right = st.columns([2, 1], vertical_alignment="bottom")
    with left:
        prediction.bring(run)
    with right:
        known = pictures_of(run, here.workspace)
        wanted = known is not None and st.button(
            "Try three held-out pictures",
            icon=":material/casino:",
            help="Pictures of your data set that it never learned from",
            key="held-out",
        )
        if kept.named and st.button("Clear", icon=":material/clear_all:", type="tertiary"):
            kept.named.clear()
    if known and (wanted or (touring() and not kept.named)):
        try:
            prediction.ask(run, prediction.held_out(run, known))
        except LimitReached as error:
            st.warning(error.message, icon=":material/hourglass_empty:")
    prediction.show(kept, lambda named: why.of_named(run, named))
    bundle_download.take_home(run)
    why.show(here, run)
