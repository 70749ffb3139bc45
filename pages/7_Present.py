"""The Present page: a run told in slides, for a room."""

import streamlit as st

from ui import runview, workspace
from ui.evaluate_page import results
from ui.places import EVALUATE, PRESENT
from ui.present_page import slides

with workspace.page(PRESENT) as here:
    run = runview.chooser(here)
    result = results.load(run, here.workspace)
    st.caption(
        "Arrow keys, the space bar, Page Up and Page Down, a clicker or a swipe go through the slides, Home and End to the first and the last. "
        "Esc leaves full screen, then the slides. "
        "Once this page is open they need no network and no server."
    )
    if result.dataset is None:
        st.caption("The data set was deleted, so no slide has pictures.")
    slides.show(result)
    if st.button("Back to the run", icon=EVALUATE.icon, key="back"):
        here.go(EVALUATE, run=run.id)
