"""Train: three decisions that are already made, one button, and the run as it goes."""

from collections import Counter

import streamlit as st

from tl_core.data.checks import problem
from tl_core.data.split import assign
from tl_core.runs import jobs
from ui import actions, runview, trainform, workspace
from ui.places import DATA, TRAIN
from ui.words import distinct, plain, plural

with workspace.page(
    "Train", "Three choices, made for you already. Change what you like, or just start.", step="Train"
) as here:
    dataset, run = here.dataset, here.run
    if run is not None and not run.status().final:
        runview.watch(here, run)
    elif dataset is None or dataset.status().state != "succeeded":
        with st.container(border=True):
            reading = dataset is not None and not dataset.status().final
            st.markdown("The pictures are still being read." if reading else "There are no pictures to learn from yet.")
            if st.button("See how far it is" if reading else "Bring pictures", type="primary"):
                here.go(DATA)
    else:
        if run is not None and run.spec().dataset == dataset.id:
            runview.ended(here, run)
            st.header("Train again", anchor=False)
        data = dataset
        start = st.container()
        manifest = dataset.manifest()
        parts = Counter(str(part) for part in assign(manifest, 0))
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader("Pictures", anchor=False, width="content")
            ready = [other for other in here.workspace.datasets() if other.status().state == "succeeded"]
            names = distinct({other.id: other.name for other in ready})
            chosen_data = st.selectbox(
                "Data set",
                list(names),
                index=list(names).index(dataset.id),
                format_func=names.__getitem__,
                key=f"pictures-{dataset.id}",
                label_visibility="collapsed",
                width=360,
            )
        if chosen_data != dataset.id:
            here.go(TRAIN, dataset=chosen_data)
        st.caption(
            f"{plural(len(manifest.classes), 'class', 'classes')}; {parts['train']:,} pictures to learn from, "
            f"{parts['val']:,} to choose by, {parts['test']:,} held out for the test."
        )
        backbone = trainform.backbone_choice()
        cards = st.container()
        stages, epochs, size, seed = trainform.advanced(backbone)
        with cards:
            strategy = trainform.strategy_choice(backbone, parts["train"], stages)
        chosen = trainform.Chosen(backbone.name, strategy.name, stages, epochs, size, seed)
        with start:
            untrainable = problem(manifest)
            if untrainable:
                st.warning(plain(untrainable, longest=1500), icon=":material/warning:")
            elif trainform.start_button(backbone, strategy, chosen, manifest, parts["train"]):
                started = actions.once(
                    f"train {dataset.id} {chosen}",
                    lambda: jobs.submit_training(
                        here.workspace,
                        data,
                        backbone=chosen.backbone,
                        strategy=chosen.strategy,
                        stages=chosen.stages,
                        epochs=chosen.epochs,
                        image_size=chosen.image_size,
                        seed=chosen.seed,
                    ),
                )
                here.go(TRAIN, run=started.id)
