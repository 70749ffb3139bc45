"""The Ideas page: what a network learns layer by layer, and how much of it to re-train when."""

import streamlit as st

from ui import workspace
from ui.ideas_page import ideas
from ui.places import IDEAS, TRAIN, succeeded
from ui.train_page import backbones, form

with workspace.page(IDEAS) as here:
    network = ideas.network_now()
    dataset = next(iter(succeeded([here.dataset])), None)
    manifest = dataset.manifest() if dataset else None
    ideas.layers()
    if dataset and manifest:
        ideas.feature_maps(here, dataset, manifest, network)
    ideas.ways(network, len(manifest.classes) if manifest else 10)
    train_images = form.parts(dataset)["train"] if dataset and manifest else None
    ideas.rule(train_images, backbones.similar(here, network.name))
    ideas.numbers(here)
    if st.button("Back to Train", icon=TRAIN.icon, key="back"):
        here.go(TRAIN)
