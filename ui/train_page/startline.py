"""Start, and what is known before it: how long the run takes, how much memory, what learns, what is wrong."""

import streamlit as st

from tl_core.models.weights import obtain
from tl_core.runs.process.devices import cards_differ, expected_card, expected_device, room_mb, unusable_gpu
from tl_core.runs.process.executor import works_here
from tl_core.runs.start import jobs
from tl_core.runs.store.folders import RunFolder
from tl_core.training.speed.estimate import Estimate, memory_warning
from tl_core.training.strategies.advice import default_strategy
from tl_core.training.strategies.strategies import AUTO, strategies
from ui import actions, drawing
from ui.places import Here
from ui.train_page.proposal import Proposal
from ui.words import DEVICE_WORDS, plain


def show(here: Here, proposal: Proposal, train_images: int) -> None:
    """Start; beside it time, device, memory and what learns; below it what a longer run may bring.

    Where `auto` looks at the pictures before it chooses, the times of both choices are said.
    """
    dataset, device = proposal.dataset, expected_device(proposal.options.device)
    problems, estimate = proposal.problems(), proposal.estimate()

    def start() -> RunFolder:
        return jobs.submit_training(here.workspace, dataset, **proposal.asked)

    with st.container(horizontal=True, vertical_alignment="center", key="start-line"):
        pressed = st.button(
            "Start",
            type=here.next_button,
            icon=":material/play_arrow:",
            key="start",
            width=160,
            disabled=bool(problems),
        )
        if proposal.chosen == AUTO and proposal.advice.strategy is None:
            st.markdown(f":material/timer: {auto_says(proposal)}")
        else:
            st.markdown(_sentence(proposal, estimate, device))
    if problems:
        st.error(plain(" ".join(problems), longest=2000), icon=":material/error:")
        return
    if pressed:
        # Not by `on_click`, which knows the settings only as they were when the page was drawn last.
        actions.begin(here.workspace, f"train {dataset.id} {proposal.options}", start)
        actions.settle(here)
    card = expected_card() if device == "cuda" and works_here() and cards_differ() else None
    if card:
        st.caption(
            f":material/developer_board: The GPUs of this server differ, and a run takes the first that is free. Time and memory are those "
            f"on {plain(card.name)}."
        )
    too_much = memory_warning(estimate, room_mb(device))
    if too_much:
        st.warning(plain(too_much, longest=600), icon=":material/memory:")
    unused = unusable_gpu() if works_here() else None
    if unused:
        st.caption(f":material/developer_board_off: {plain(unused, longest=800)}")
    longer = default_strategy(device, train_images)
    if proposal.chosen == longer.name:
        title, reason = strategies()[longer.longer].title, plain(longer.longer_reason, longest=300)
        st.caption(f"{reason} “{title}” would take {proposal.estimate(longer.longer)}.")


def _sentence(proposal: Proposal, estimate: Estimate, device: str) -> str:
    learns = drawing.totals(proposal.drawn()).replace(" learn", " will learn")
    memory = estimate.memory.removeprefix("about ")
    sentence = f":material/timer: {estimate} on {DEVICE_WORDS[device]}, {memory} of memory; {learns}."
    if proposal.setup.strategy.pretrained and not obtain.available(proposal.setup.network, proposal.options.weights):
        sentence += f" Before that it {obtain.availability(proposal.setup.network, proposal.options.weights)}."
    return sentence


def auto_says(proposal: Proposal) -> str:
    """What `auto` would take and how long that is; both choices where the pictures are still to be looked at."""
    rows, advice = strategies(), proposal.advice
    if advice.strategy:
        title = rows[advice.strategy].title
        return f"Would take “{title}”, {proposal.estimate(advice.strategy)}. {advice.reason}"
    similar, different = (
        f"“{rows[other.strategy].title}”, {proposal.estimate(other.strategy)}" for other in advice.alternatives[:2]
    )
    return (
        "Looks at your pictures first. Where they are much like what the network learned before, it takes "
        f"{similar}; else {different}."
    )
