"""Shows on the Evaluate page how far training moved each stage from its pretrained weights."""

import streamlit as st

from tl_core.training.strategies.strategies import strategies
from ui import charts
from ui.evaluate_page.results import Result
from ui.words import label, plain


def show(result: Result) -> None:
    """A bar for each stage with its interpretation, or a sentence where no weights could move."""
    strategy = strategies().get(result.run.spec().strategy)
    moved = result.report.moved
    if strategy is None or (strategy.takes_steps and strategy.pretrained and not moved):
        return
    st.subheader("What moved", anchor=False, help="Distance of the parameters of each stage from where training began")
    if not strategy.takes_steps:
        st.markdown(
            "Nothing in the pretrained network: it stayed frozen, and only the new last layer (head) was fitted."
        )
        return
    if not strategy.pretrained:
        st.markdown(
            "Everything: training started from random weights, so there are no pretrained ones to compare with."
        )
        return
    most = max(moved, key=lambda stage: stage.distance)
    if most.distance == 0:
        st.markdown(
            "Nothing: no epoch was better on the validation pictures, which choose among the epochs, than the fitted last layer that training began with, so that one was kept."
        )
        return
    still = [stage for stage in moved if not stage.learned]
    st.markdown(
        f"**{plain(most.name)}** moved most: its weights changed by {charts.share(most.distance)} of their own length. "
        + (f"The {len(still)} frozen stages stayed where they were. " if 1 < len(still) < len(moved) else "")
        + _meaning(moved[0].distance, moved[-1].distance)
    )
    figure = charts.stage_bars(
        [stage.name for stage in moved],
        [stage.distance for stage in moved],
        [stage.learned for stage in moved],
        title=f"{label(most.name)} moved most",
    )
    charts.show(figure, key=f"moved-{result.run.id}", alt=f"How far each stage moved; {most.name} moved most")


def _meaning(first: float, last: float) -> str:
    if last > 1.5 * first:
        return "Late stages moved more than early ones, as usual: edges and textures serve any picture, the things in it are new."
    if first > 1.5 * last:
        return "Early stages moved more than late ones: these pictures look different (colour, texture, noise), not only what is on them."
    return "Early and late stages moved about alike."
