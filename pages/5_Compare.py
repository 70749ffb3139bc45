"""The Compare page: which of several runs is better, on pictures that all of them were judged on."""

import streamlit as st

from ui import workspace
from ui.compare_page import choosing, differing, verdicts
from ui.places import COMPARE

with workspace.page(COMPARE) as here:
    found = choosing.runs(here)
    if len(found.tested) < 2:
        st.stop()
    verdicts.show(here, found)
    verdicts.costs(found)
    differing.show(here, found)
