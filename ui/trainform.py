"""The three decisions of a training run, all made in advance: pictures, backbone, strategy. Knows rows, no torch."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from tl_core.documents.manifest import Manifest
from tl_core.models import weights
from tl_core.models.registry import Network, networks
from tl_core.runs.jobs import detect_device
from tl_core.training.estimate import estimate
from tl_core.training.strategies import Strategy, default_strategy, frozen_stages, strategies
from ui import network as drawing
from ui.words import count, percent, plain

DEVICE_WORDS = {"cpu": "this processor (CPU)", "cuda": "this GPU", "mps": "this Mac's GPU"}


@dataclass(frozen=True)
class Chosen:
    """What would be trained."""

    backbone: str
    strategy: str
    stages: int
    epochs: int | None
    image_size: int | None
    seed: int


def backbone_choice() -> Network:
    """The select box of pretrained networks."""
    table = networks()
    st.subheader("What it already knows", anchor=False)
    st.caption("A network that has seen a million photos is the start (backbone).")
    name = st.selectbox(
        "Backbone",
        list(table),
        format_func=_backbone_label,
        key="backbone",
        persist_state="session",
        label_visibility="collapsed",
    )
    row = table[name]
    weighed, described = row.weights_row(), weights.describe(row)
    st.caption(
        f"{described[0].upper()}{described[1:]}. {percent(weighed.imagenet_accuracy)} right on ImageNet's 1,000 classes, "
        f"{count(row.parameters)} parameters, {row.gflops:.1f} billion steps a picture. Licence of the weights: {plain(weighed.licence)}"
    )
    return row


def _backbone_label(name: str) -> str:
    row = networks()[name]
    return f"{name}: {weights.describe(row)}, {percent(row.weights_row().imagenet_accuracy)} on ImageNet"


def strategy_choice(row: Network, train_images: int, stages: int) -> Strategy:
    """One card a strategy, with the picture of the network; the default's reason beside it."""
    table = strategies()
    device = detect_device()
    proposed = default_strategy(device, train_images)
    chosen = st.session_state.get("strategy", proposed.name)
    chosen = chosen if chosen in table else proposed.name
    st.subheader("How much of it to re-train", anchor=False)
    st.caption(f"The strategy. {plain(proposed.reason, longest=300)}")
    total = len(row.stages)
    for column, option in zip(st.columns(len(table)), table.values(), strict=True):
        with column, st.container(border=True, height="stretch", key=f"card-{option.name}"):
            badge = " :green-badge[proposed]" if option.name == proposed.name else ""
            st.markdown(f"**{option.title}**{badge}")
            frozen = frozen_stages(option, total, stages)
            st.image(drawing.picture(total, frozen), width="stretch", alt=drawing.spoken(total, frozen))
            st.caption(option.description)
            st.space("stretch")
            picked = option.name == chosen
            st.button(
                "Chosen" if picked else "Choose",
                key=f"choose-{option.name}",
                type="primary" if picked else "secondary",
                icon=":material/check:" if picked else None,
                width="stretch",
                on_click=_choose,
                args=(option.name,),
                help=f"Use {option.title.lower()}",
            )
    return table[chosen]


def _choose(name: str) -> None:
    st.session_state["strategy"] = name


def advanced(row: Network) -> tuple[int, int | None, int | None, int]:
    """Stages, epochs, image size, seed: folded, all with a default."""
    with st.expander("Advanced", icon=":material/tune:"), st.grid(4, min_column_width=180):
        stages = st.number_input(
            "Last stages that learn", 1, len(row.stages), min(2, len(row.stages)), key="stages", persist_state="session",
            help="For the strategy that re-trains the last stages.",
        )  # fmt: skip
        epochs = st.number_input(
            "Epochs", 1, 200, None, key="epochs", persist_state="session", placeholder="the strategy's own",
            help="How often every picture is learned from. The head alone needs none.",
        )  # fmt: skip
        size = st.number_input(
            "Image size, pixels", 32, 1024, None, step=32, key="image-size", persist_state="session",
            placeholder=f"{row.weights_row().input_size}, as it was pretrained", help="Larger sees finer detail and takes longer.",
        )  # fmt: skip
        seed = st.number_input(
            "Seed", 0, 2**32 - 1, 0, key="seed", persist_state="session",
            help="The same seed gives the same split and the same result.",
        )  # fmt: skip
    return stages, epochs, size, seed


def start_button(row: Network, option: Strategy, chosen: Chosen, manifest: Manifest, train_images: int) -> bool:
    """Start, and beside it how long, where, how much will learn; under it what a longer run may buy."""
    device = detect_device()
    proposed = default_strategy(device, train_images)
    learning = sum(row.stage_parameters[frozen_stages(option, len(row.stages), chosen.stages) :])
    head = row.head_parameters(len(manifest.classes))
    sentence = (
        f":material/timer: {_about(row, option, chosen, len(manifest.images))} on {DEVICE_WORDS[device]}; "
        f"{count(learning + head)} of {count(row.backbone_parameters + head)} parameters will learn."
    )
    if not weights.available(row):
        sentence += f" Before that it {weights.describe(row)}."
    with st.container(horizontal=True, vertical_alignment="center", key="start-line"):
        pressed = st.button("Start", type="primary", icon=":material/play_arrow:", key="start", width=160)
        st.markdown(sentence)
    longer = proposed.longer
    if longer and option.name == proposed.name and proposed.longer_reason:
        longer_time = _about(row, strategies()[longer], chosen, len(manifest.images))
        st.caption(
            f"{plain(proposed.longer_reason, longest=300)} “{strategies()[longer].title}” would take {longer_time}."
        )
    return pressed


def _about(row: Network, option: Strategy, chosen: Chosen, images: int) -> str:
    return str(
        estimate(
            row,
            option,
            images=images,
            device=detect_device(),
            stages=chosen.stages,
            epochs=chosen.epochs,
            image_size=chosen.image_size,
        )
    )
