"""The Train page: three decisions that are already made, one button to start, and the run while it works and after it ended."""

import streamlit as st

from tl_core.data.checks import problem
from ui import runview, workspace
from ui.places import TRAIN
from ui.train_page import backbones, form, racing, startline
from ui.words import plain

with workspace.page(TRAIN) as here:
    dataset, race = here.dataset, here.race
    run = here.run if race is None else None
    if race is not None and not race.status().final:
        racing.watch(here, race)
        st.stop()
    if race is not None:
        racing.ended(here, race)
    if run is not None and not run.status().final:
        runview.watch(here, run)
        st.stop()
    if run is not None:
        runview.ended(here, run)
    if workspace.missing(here) or dataset is None:
        st.stop()
    if run is not None or race is not None:
        st.header("Train again", anchor=False)
    manifest = dataset.manifest()
    start = st.container()
    parts = form.pictures(here, dataset, manifest)
    network, weights = backbones.choice(here)
    backbones.show_ranking(here, dataset)
    proposal = form.strategy(here, dataset, network, weights, manifest, parts["train"])
    with start:
        untrainable = problem(manifest)
        if untrainable:
            st.warning(plain(untrainable, longest=1500), icon=":material/warning:")
        else:
            startline.show(here, proposal, parts["train"])
            racing.propose(here, proposal)
