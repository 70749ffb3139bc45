"""Train: three decisions that are already made, one button, and the run as it goes."""

import streamlit as st

from tl_core.data.checks import problem
from tl_core.runs.start import jobs
from ui import actions, backbones, ranking, runview, startline, trainform, workspace
from ui.places import DATA, TRAIN
from ui.words import plain

with workspace.page(
    "Train", "Three choices, made for you already. Change what you like, or just start.", step="Train"
) as here:
    dataset, run = here.dataset, here.run
    if run is not None and not run.status().final:
        runview.watch(here, run)
    elif dataset is None or dataset.status().state != "succeeded":
        if run is not None:
            runview.ended(here, run)
        with st.container(border=True):
            reading = dataset is not None and not dataset.status().final
            st.markdown("The pictures are still being read." if reading else "There are no pictures to learn from yet.")
            if st.button("See how far it is" if reading else "Bring pictures", type="primary"):
                here.go(DATA)
    else:
        if run is not None:
            runview.ended(here, run)
            st.header("Train again", anchor=False)
        data, manifest = dataset, dataset.manifest()
        start = st.container()
        parts = trainform.pictures(here, data, manifest)
        network, weights = backbones.choice(here)
        ranking.show(here, data)
        plan = trainform.strategy(here, data, network, weights, manifest, parts["train"])
        with start:
            untrainable = problem(manifest)
            if untrainable:
                st.warning(plain(untrainable, longest=1500), icon=":material/warning:")
            elif startline.show(here, plan, manifest, parts["train"]):
                started = actions.once(
                    here.workspace,
                    f"train {data.id} {plan.options}",
                    lambda: jobs.submit_training(here.workspace, data, **vars(plan.options)),
                )
                here.go(TRAIN, run=started.id)
