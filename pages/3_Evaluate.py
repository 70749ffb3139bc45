"""The Evaluate page: how good a classifier is on pictures that took no part in its training."""

import streamlit as st

from ui import runview, why, workspace
from ui.compare_page import choosing
from ui.evaluate_page import results, robustness_panel, slices_panel, story_dialog, sureness
from ui.places import EVALUATE, PREDICT, PRESENT

with workspace.page(EVALUATE) as here:
    run = runview.chooser(here)
    result = results.load(run, here.workspace)
    results.top(result)
    with st.container(horizontal=True):
        if st.button("Try it on new pictures", type=here.next_button, icon=PREDICT.icon):
            here.go(PREDICT, run=run.id)
        choosing.offer(here, run)
        story_dialog.offer(run)
        if st.button("Present it to others", icon=PRESENT.icon, help="Slides of this run, for a room"):
            here.go(PRESENT, run=run.id)
    runview.train_on(here, run)
    results.matrix(result, why.of_answer)
    results.per_class(result)
    results.worst(result, why.of_answer)
    slices_panel.show(here, result)
    sureness.show(result)
    robustness_panel.show(here, result)
    results.moved(result)
    runview.take_home(run)
    why.show(here, run)
    story_dialog.show(result)
