"""Two tours on a sample: Show me, through the line of steps with a sentence at each from the table of pages; and Try it, straight to Predict."""

import streamlit as st

from tl_core.runs.start import jobs
from tl_core.training.strategies.strategies import HEAD_ONLY
from ui.actions import once
from ui.places import DATA, PLACES, PREDICT, PRESENT, TRAIN, Here, succeeded, touring

_MEANWHILE = "First the pictures are read, then a classifier learns from them. Both take seconds, and the page goes on by itself. Then it is your turn."


def banner(here: Here) -> None:
    """The sentence of this page and the button to the next one; draws nothing on other pages, or when the tour is off."""
    step = here.place.step
    if step is None or not touring():
        return
    if touring() == "try":
        _straight_on(here)
        return
    line = [place for place in PLACES.values() if place.step]
    ready = not step.tour_meanwhile or bool(succeeded([here.job(here.place)]))
    with st.container(border=True, key="tour"):
        number = f"{line.index(here.place) + 1} of {len(line)}"
        st.markdown(f":green[:material/tour:] **Show me, {number}.** {step.tour if ready else step.tour_meanwhile}")
        with st.container(horizontal=True):
            if step.onward and st.button(
                step.onward, type="primary", icon=":material/arrow_forward:", disabled=not ready
            ):
                following = line[line.index(here.place) + 1]
                here.go(following, run=_trained(here) if following is TRAIN else None)
            if st.button("End the tour" if step.onward else "Now with my pictures", key="tour-end"):
                st.query_params.pop("tour", None)
                st.rerun() if step.onward else here.go(DATA)
            if not step.onward and st.button("Present it to others", icon=PRESENT.icon, key="tour-present"):
                here.go(PRESENT)


def _straight_on(here: Here) -> None:
    """From the pictures to the first answer without a click between: what happens meanwhile, in one sentence a page."""
    if here.place is DATA and succeeded([here.dataset]):
        here.go(PREDICT, run=_trained(here))
    ready = here.place is PREDICT and bool(succeeded([here.run]))
    if here.place in (DATA, PREDICT):
        with st.container(border=True, key="tour"):
            sentence = here.place.step.tour if ready and here.place.step else _MEANWHILE
            st.markdown(f":green[:material/bolt:] **Try it.** {sentence}")
            if ready and st.button("Now with my pictures", key="tour-end"):
                st.query_params.pop("tour", None)
                here.go(DATA)


def _trained(here: Here) -> str:
    """A run on the open data set: one that ended well, else one that starts now."""
    dataset = here.dataset
    assert dataset is not None
    for run in succeeded(here.workspace.runs()):
        if run.spec().dataset == dataset.id:
            return run.id
    return once(
        here.workspace,
        f"tour {dataset.id}",
        lambda: jobs.submit_training(here.workspace, dataset, strategy=HEAD_ONLY),
    ).id
