"""The strategies to choose from: a few cards with pictures, the others folded, and the line about `auto`."""

from dataclasses import dataclass
from typing import Any, Literal

import streamlit as st

from tl_core.models.registry import Network
from tl_core.training.strategies.strategies import (
    AUTO,
    LAST_STAGES,
    WHOLE_NETWORK,
    Strategy,
    misfit,
    strategies,
)
from ui import drawing
from ui.words import plain, strategy_title

USUAL = (LAST_STAGES, WHOLE_NETWORK)
"""Strategies that always have a card, next to the proposed one and the chosen one."""
PREFIX = "set-"
"""What the session keys of settings begin with. A setting goes back to the strategy's own when another one is chosen."""
_KEEP = (f"{PREFIX}seed", f"{PREFIX}image_size")
"""Settings that stay when another strategy is chosen."""


@dataclass(frozen=True)
class Offer:
    """What the cards are drawn for."""

    network: Network
    classes: int
    stages: int
    """How many of the last stages learn, where the strategy trains the last ones."""
    proposed: str = ""
    """The name of the strategy that the page proposes."""

    def misfit(self, strategy: Strategy) -> str | None:
        """Why `strategy` cannot be used with the network, in words; None where it can."""
        return misfit(strategy, self.network, self.stages)

    def picture(self, strategy: Strategy, *, width: int | Literal["stretch"], words: bool = True) -> None:
        """The small picture of the network as `strategy` trains it."""
        drawn = drawing.blocks(
            self.network, strategy, stages=self.stages, classes=self.classes, steps=strategy.takes_steps
        )
        st.image(drawing.small(drawn, words=words), width=width, alt=drawing.spoken(drawn))


def chosen_name(proposed: str) -> str:
    """The strategy that is chosen now, before anything is drawn."""
    name = str(st.session_state.get("strategy", proposed))
    return name if name in strategies() or name == AUTO else proposed


def choose(name: str) -> None:
    """Take a strategy; what was set for another one is forgotten."""
    if st.session_state.get("strategy") != name:
        for key in [key for key in st.session_state if str(key).startswith(PREFIX) and key not in _KEEP]:
            del st.session_state[key]
    st.session_state["strategy"] = name


def show(offer: Offer, chosen: str) -> None:
    """Cards of the proposed strategy, the usual ones and the chosen one; the others folded."""
    table = strategies()
    shown = [table[name] for name in dict.fromkeys((offer.proposed, *USUAL, chosen)) if name in table]
    for column, strategy in zip(st.columns(len(shown)), shown, strict=True):
        with column:
            _card(offer, strategy, chosen)
    with st.expander(
        f"More strategies ({len(table) - len(shown)})", icon=":material/expand_more:", key="more-strategies"
    ):
        for strategy in table.values():
            if strategy not in shown:
                _line(offer, strategy, chosen)


def auto(chosen: str, says: str) -> None:
    """The line about `auto`, which looks at the pictures first; `says`: what it would take, why, and how long that is."""
    with st.container(border=True, gap="xsmall", key="card-auto"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(f":material/auto_awesome: **{strategy_title(AUTO)}** :gray[(auto)]", width="stretch")
            _button(
                AUTO,
                chosen,
                "Choose auto",
                help="Looks at your pictures first, then takes the strategy that the rule names",
            )
        st.caption(plain(says, longest=900))


def _card(offer: Offer, strategy: Strategy, chosen: str) -> None:
    with st.container(border=True, height="stretch", key=f"card-{strategy.name}"):
        badge = " :green-badge[proposed]" if strategy.name == offer.proposed else ""
        st.markdown(f"**{strategy.title}**{badge}")
        offer.picture(strategy, width="stretch")
        reason = offer.misfit(strategy)
        st.caption(plain(reason or "", longest=400) or strategy.description)
        st.space("stretch")
        _strategy_button(strategy, chosen, reason, width="stretch")


def _line(offer: Offer, strategy: Strategy, chosen: str) -> None:
    reason = offer.misfit(strategy)
    with st.container(border=True, gap="xsmall", key=f"card-{strategy.name}"):
        with st.container(horizontal=True, vertical_alignment="center"):
            offer.picture(strategy, width=92, words=False)
            st.markdown(f"**{strategy.title}**", width="stretch")
            _strategy_button(strategy, chosen, reason, width=100)
        st.caption(f":material/block: {plain(reason, longest=400)}" if reason else strategy.description)


def _strategy_button(strategy: Strategy, chosen: str, reason: str | None, *, width: int | Literal["stretch"]) -> None:
    _button(
        strategy.name,
        chosen,
        "Choose",
        help=None if reason else f"Use {strategy.title.lower()}",
        disabled=reason is not None and strategy.name != chosen,
        width=width,
    )


def _button(name: str, chosen: str, label: str, **how: Any) -> None:
    picked = name == chosen
    st.button(
        "Chosen" if picked else label,
        key=f"choose-{name}",
        type="primary" if picked else "secondary",
        icon=":material/check:" if picked else None,
        on_click=choose,
        args=(name,),
        **how,
    )
