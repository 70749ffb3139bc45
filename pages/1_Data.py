"""The Data page: bring pictures, see what was read, and what the checks found."""

import streamlit as st

from tl_core.data.checks import problem
from ui import actions, workspace
from ui.data_page import changes, dataset, dropzone, picture_map_panel, reviewing
from ui.places import DATA, TRAIN
from ui.words import distinct, plain

ADDING = "More pictures of these classes, or a new class. They make a new version of this data set."
BRINGING = "Start a data set of its own, with classes of its own."

with workspace.page(DATA) as here:
    opened = here.dataset
    bring = st.session_state.get("bring")
    brings = opened is None or bring == "more" or (bring is None and dropzone.drafting(here))
    adds = not brings and (bring == "add" or (bring is None and dropzone.adding(here, opened)))
    if brings or adds:
        if opened is not None and st.button("Back to the data set", icon=":material/arrow_back:", type="tertiary"):
            st.session_state["bring"] = "no"
            st.rerun()
        if adds:
            dropzone.add(here, opened)
        else:
            dropzone.show(here)
    else:
        status = opened.status()
        manifest, damage = changes.opened(opened) if opened.ready else (None, None)
        with st.container(horizontal=True, vertical_alignment="center"):
            others = here.workspace.datasets()
            if len(others) > 1:
                names = distinct({other.id: other.name for other in others})
                here.choose("dataset", names, opened.id, label="Data set", label_visibility="collapsed", width=320)
            else:
                st.markdown(f"## {plain(opened.name)}", anchors=False)
            st.space("stretch")
            if manifest and st.button(
                "Train on these", type=here.next_button, icon=TRAIN.icon, disabled=bool(problem(manifest))
            ):
                here.go(TRAIN, dataset=opened.id)
            if manifest and st.button("Add to these", icon=":material/add_photo_alternate:", help=ADDING):
                st.session_state["bring"] = "add"
                st.rerun()
            if st.button("Bring other pictures", icon=":material/create_new_folder:", help=BRINGING):
                st.session_state["bring"] = "more"
                st.rerun()
            actions.menu(opened, key="data")
        if not status.final:
            dataset.reading(opened)
        elif status.state != "succeeded":
            dataset.ended(opened, status)
        if damage:
            changes.way_back(opened, damage)
        elif manifest:
            review = reviewing.answer(here, opened)
            dataset.found(opened, manifest, passed_over=["suspect_label"] if review else [])
            to_decide = reviewing.to_decide(opened, manifest, review)
            if to_decide:
                reviewing.show(here, opened, manifest, review)
            dataset.pictures(opened, manifest)
            if not to_decide:
                reviewing.show(here, opened, manifest, review)
            picture_map_panel.show(here, opened, manifest)
        elif status.final:
            st.header("Try again", anchor=False)
            dropzone.show(here)
