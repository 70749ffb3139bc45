"""The Predict page: classifies new pictures with the bundle that can be downloaded."""

import streamlit as st

from tl_core.errors import LimitReached
from ui import classifier, runview, why, workspace
from ui.places import PREDICT, pictures_of
from ui.predict_page import answers
from ui.words import plain

with workspace.page(PREDICT) as here:
    classifier.get_ready()
    run = runview.chooser(here)
    kept = answers.answers(run)
    sentence = runview.accuracy(run)
    if sentence:
        st.caption(f"{plain(run.name)}: {sentence}")
    # Beside the camera, an answer is seen where the photo was taken; on a phone it comes after it.
    left, right = st.columns([2, 3], gap="medium")
    known = pictures_of(run, here.workspace)
    with left:
        answers.bring(run)
        wanted = answers.offer_held_out(run, known) if known else []
        if known and wanted:
            try:
                answers.ask_about(run, known, wanted)
            except LimitReached as error:
                st.warning(plain(error.message, longest=400), icon=":material/hourglass_empty:")
    with right:
        if not kept.named:
            answers.what_to_do(run, known)
        answers.show(kept, lambda named: why.of_named(run, named))
    runview.take_home(run)
    why.show(here, run)
