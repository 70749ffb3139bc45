"""Show me: a walk through the four pages on a sample, with one sentence at each. Knows which page it is on, no model."""

from __future__ import annotations

import streamlit as st

from tl_core.runs.start import jobs
from ui.actions import once
from ui.places import DATA, EVALUATE, PREDICT, TRAIN, Here, touring

SAMPLE = "digits"
"""Comes with scikit-learn, is read in seconds, and everybody sees at once whether an answer is right."""
STRATEGY = "feature_extraction"
"""What the sentences tell of, on every device."""
_SENTENCES = {
    "Data": "Every picture was opened, checked and sorted by class. Some are held out now, for an honest test later.",
    "Train": "A network that already knows a million photos looks at each picture once; only a new last layer learns your classes.",
    "Evaluate": "These pictures were kept away from training, so the number can be trusted. Orange cells are mistakes: click one and look.",
    "Predict": "Three pictures that it had never seen, and how sure it is of each. The same file is what you take home.",
}
_WHILE = {
    "Data": "1,797 handwritten digits are being read: each is opened and checked, and a broken one would be set aside with its reason.",
    "Train": "It is learning now. Each picture runs through the frozen network once, then the new last layer is fitted.",
}
_NEXT = {"Data": "Next: train", "Train": "Next: how good is it?", "Evaluate": "Next: try it"}


def banner(here: Here, page: str | None) -> None:
    """The sentence of this page and the button to the next; draws nothing when the tour is off."""
    if not touring() or page not in _SENTENCES:
        return
    ready = _ready(here, page)
    with st.container(border=True, key="tour"):
        number = list(_SENTENCES).index(page) + 1
        st.markdown(
            f":green[:material/tour:] **Show me, {number} of 4.** {_SENTENCES[page] if ready else _WHILE[page]}"
        )
        with st.container(horizontal=True):
            if page in _NEXT and st.button(
                _NEXT[page], type="primary", icon=":material/arrow_forward:", disabled=not ready
            ):
                _go_on(here, page)
            if st.button("End the tour" if page != "Predict" else "Now with my pictures", key="tour-end"):
                st.query_params.pop("tour", None)
                here.go(DATA) if page == "Predict" else st.rerun()


def _ready(here: Here, page: str) -> bool:
    job = {"Data": here.dataset, "Train": here.run}.get(page)
    return page not in _WHILE or (job is not None and job.status().state == "succeeded")


def _go_on(here: Here, page: str) -> None:
    if page == "Data":
        dataset = here.dataset
        assert dataset is not None
        finished = [
            run
            for run in here.workspace.runs()
            if run.spec().dataset == dataset.id and run.status().state == "succeeded"
        ]
        run = (
            finished[0]
            if finished
            else once(
                here.workspace,
                f"tour {dataset.id}",
                lambda: jobs.submit_training(here.workspace, dataset, strategy=STRATEGY),
            )
        )
        here.go(TRAIN, run=run.id)
    here.go(EVALUATE if page == "Train" else PREDICT)
