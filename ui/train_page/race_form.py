"""Folded below Start: which strategies and backbones to race on these pictures, and within what time."""

from typing import Any

import streamlit as st

from tl_core.documents.options import OPTIONS
from tl_core.errors import GraftError
from tl_core.runs.start import races
from tl_core.training.strategies.strategies import misfit, strategies
from ui import actions
from ui.places import Here
from ui.train_page import backbones
from ui.train_page.proposal import Proposal
from ui.words import duration, plain, plural, strategy_title

_LONGEST = 60
"""Minutes."""
_OWN = ("backbone", "weights", "strategy")
"""Options that the form has places of its own for."""


def show(here: Here, proposal: Proposal) -> None:
    """One folded line; nothing is computed before it is opened."""
    with st.expander(
        "Race several, within a time", icon=":material/sports_score:", on_change="rerun", key="race-several"
    ) as box:
        if box.open:
            _form(here, proposal)


def _form(here: Here, proposal: Proposal) -> None:
    st.caption(
        "Trains several ways on the same pictures, one after the other, the quickest first. One that cannot win any more is stopped, "
        "and when the time is up, the one at work ends with its best state. Each is a run of its own."
    )
    dataset, own = proposal.dataset, proposal.setup.network
    fits = [
        name
        for name, row in strategies().items()
        if misfit(row, own, min(proposal.setup.spec.stages, len(own.stages))) is None
    ]
    ways = st.multiselect(
        "Strategies",
        fits,
        default=[name for name in races.STRATEGIES if name in fits],
        format_func=strategy_title,
        key=f"race-strategies-{own.name}",
    )
    networks = st.multiselect(
        "Backbones that are here",
        list(dict.fromkeys((own.name, *backbones.here_now()))),
        default=[own.name],
        key=f"race-backbones-{own.name}",
    )
    longest = max(1, int(min(_LONGEST, races.most_seconds() / 60)))
    minutes = st.slider("Minutes", 1, longest, min(10, longest), key="race-minutes") if longest > 1 else 1
    options: dict[str, Any] = {
        name: value for name, value in proposal.asked.items() if name not in _OWN and OPTIONS[name].when == "always"
    }
    if networks == [own.name]:
        options["weights"] = proposal.case.weights
    wished = {"strategies": ways, "backbones": networks, "budget": 60.0 * minutes, **options}
    problem, expected = _looked_at(proposal, ways, networks, 60.0 * minutes, options)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Start the race",
            type="primary",
            icon=":material/sports_score:",
            key="start-race",
            disabled=problem is not None,
            on_click=actions.begin,
            args=(
                here.workspace,
                f"race {dataset.id} {wished}",
                lambda: races.submit_race(here.workspace, dataset, **wished),
            ),
        )
        if expected:
            st.markdown(f":material/timer: {expected}")
    if problem:
        st.caption(f":material/info: {plain(problem, longest=1200)}")


def _looked_at(
    proposal: Proposal, ways: list[str], networks: list[str], budget: float, options: dict[str, Any]
) -> tuple[str | None, str | None]:
    """What is wrong with the race, and how long its runs would take without a limit."""
    if not ways or not networks:
        return "Choose at least one strategy and one backbone.", None
    try:
        asked = races.contestants(options, ways, networks)
        seconds = races.expected_seconds(asked, proposal.dataset)
    except GraftError as error:
        return error.message, None
    runs = plural(len(asked), "run")
    if seconds is None:
        return None, runs
    long = seconds > budget
    return None, f"{runs}, about {duration(seconds)} in sum" + (": the longest may not begin" if long else "")
