"""What the network already knows: which backbone, with which set of weights. A short list; all others behind a search. Knows rows, no torch."""

from __future__ import annotations

import streamlit as st

from tl_core.models import weights
from tl_core.models.registry import DEFAULT_NETWORK, Network, networks
from ui.words import count, percent, plain

RECOMMENDED = (
    "efficientnet_lite0",
    "vit_small_patch14_dinov2",
    "convnextv2_nano",
    "mobilenetv4_conv_small",
    "resnet50",
    "convnext_tiny",
    "efficientnet_b0",
    "mobilenet_v3_large",
    "swin_t",
    "vit_b_16",
)
"""Small ones that transfer well, and the ones that courses name. Names that the table lacks are passed over."""


@st.cache_data(ttl=10, max_entries=4, show_spinner=False)
def here_now() -> tuple[str, ...]:
    """Names of the networks whose default weights are on this machine."""
    return tuple(weights.available_names())


def choice() -> tuple[Network, str]:
    """The select box, what is chosen in words, and all networks folded away. Returns the row and its set of weights."""
    table = networks()
    st.subheader("What it already knows", anchor=False)
    st.caption("A network that has seen a million photos is the start (backbone).")
    chosen = st.session_state.get("backbone", DEFAULT_NETWORK)
    chosen = chosen if chosen in table else DEFAULT_NETWORK
    listed = [name for name in dict.fromkeys((*here_now(), *RECOMMENDED, chosen)) if name in table]
    st.selectbox(
        "Backbone",
        listed,
        index=listed.index(chosen),
        format_func=_label,
        key="backbone",
        persist_state="session",
        label_visibility="collapsed",
    )
    row = table[chosen]
    weighed = row.weights_row(chosen_weights(row))
    described = weights.describe(row, weighed.name)
    st.caption(
        f"{described[0].upper()}{described[1:]}. {percent(weighed.imagenet_accuracy)} right on ImageNet's 1,000 classes, "
        f"{count(row.parameters)} parameters, {row.gflops:.1f} billion steps a picture. "
        f"Licence of the weights: {plain(weighed.licence, longest=120)}"
    )
    with st.expander(f"All networks ({len(table)})", icon=":material/travel_explore:", key="all-networks"):
        everything(table)
    return row, weighed.name


def chosen_weights(row: Network) -> str:
    """The set of weights that is chosen for `row`, else its default."""
    name = st.session_state.get(f"weights-{row.name}")
    return name if any(name == known.name for known in row.weights) else row.default_weights


def weights_choice(row: Network) -> None:
    """The set of weights, where there are several, with its licence."""
    if len(row.weights) < 2:
        return
    names = [known.name for known in row.weights]
    st.selectbox(
        "Set of weights",
        names,
        index=names.index(row.default_weights),
        format_func=lambda name: _weights_label(row, name),
        key=f"weights-{row.name}",
        persist_state="session",
        help="What the network learned before, and how well. The first choice is the library's own.",
    )


def everything(table: dict[str, Network]) -> None:
    """Every network, to be searched by typing."""
    st.selectbox(
        "Search all networks",
        list(table),
        index=None,
        format_func=_label,
        key="any-backbone",
        placeholder="Type a name, such as resnet or vit",
        on_change=_take_found,
        filter_mode="contains",
    )
    st.caption(plain(_works_now(), longest=1200))


@st.cache_data(ttl=10, max_entries=4, show_spinner=False)
def _works_now() -> str:
    return weights.here_now_sentence()


def take(name: str) -> None:
    """Make it the chosen backbone."""
    st.session_state["backbone"] = name


def _take_found() -> None:
    name = st.session_state.get("any-backbone")
    if name:
        take(name)
        st.session_state["any-backbone"] = None


def _label(name: str) -> str:
    row = networks()[name]
    return f"{name}: {weights.describe(row)}, {percent(row.weights_row().imagenet_accuracy)} on ImageNet"


def _weights_label(row: Network, name: str) -> str:
    known = row.weights_row(name)
    return f"{name}: {weights.describe(row, name)}, {percent(known.imagenet_accuracy)} on ImageNet, {known.licence}"
