"""The Predict page: classifies new pictures with the bundle that can be downloaded."""

import streamlit as st

from tl_core.errors import LimitReached
from ui import bundle_download, prediction, runview, why, workspace
from ui.places import PREDICT, pictures_of
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
    left, right = st.columns([3, 2], gap="medium")
    with left:
        prediction.bring(run)
    known = pictures_of(run, here.workspace)
    if known:
        with right:
            wanted = prediction.offer_held_out(run, known)
        if wanted:
            try:
                prediction.ask_about(run, known, wanted)
            except LimitReached as error:
                st.warning(error.message, icon=":material/hourglass_empty:")
    if not kept.named:
        prediction.what_to_do(run, known)
    prediction.show(kept, lambda named: why.of_named(run, named))
    bundle_download.take_home(run)
    why.show(here, run)
