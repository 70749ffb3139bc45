"""The Data page: bring pictures, see what was read, and what the checks found."""

import streamlit as st

from tl_core.data.checks import problem
from ui import actions, live, workspace
from ui.data_page import dataset, dropzone
from ui.places import DATA, TRAIN
from ui.words import distinct, plain

with workspace.page(DATA) as here:
    opened = here.dataset
    bringing = st.session_state.get("bring") == "more"
    if opened is None or bringing or ("bring" not in st.session_state and dropzone.drafting(here)):
        if opened is not None and st.button("Back to the data set", icon=":material/arrow_back:", type="tertiary"):
            st.session_state["bring"] = "no"
            st.rerun()
        dropzone.show(here)
    else:
        status = opened.status()
        manifest = opened.manifest() if status.state == "succeeded" else None
        with st.container(horizontal=True, vertical_alignment="center"):
            others = here.workspace.datasets()
            if len(others) > 1:
                names = distinct({other.id: other.name for other in others})
                here.choose("dataset", names, opened.id, label="Data set", label_visibility="collapsed", width=320)
            else:
                st.markdown(f"### {plain(opened.name)}", anchors=False)
            st.space("stretch")
            if manifest and st.button(
                "Train on these", type="primary", icon=TRAIN.icon, disabled=bool(problem(manifest))
            ):
                here.go(TRAIN, dataset=opened.id)
            if st.button("Bring other pictures", icon=":material/add_photo_alternate:"):
                st.session_state["bring"] = "more"
                st.rerun()
            actions.menu(opened, key="data")
        if manifest:
            dataset.show(opened, manifest)
        elif not status.final:
            dataset.reading(opened)
        else:
            if status.failure:
                st.error(plain(status.failure.message, longest=1500), icon=":material/error:")
            else:
                st.warning(
                    "Reading was cancelled. What was read until then goes when you delete this data set.",
                    icon=":material/cancel:",
                )
            live.log(opened)
            st.subheader("Try again")
            dropzone.show(here)
