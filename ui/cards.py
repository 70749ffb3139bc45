"""How much of the network to re-train: a few cards, the rest behind "More strategies", the picture of the chosen one. Knows rows, no torch."""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

from tl_core.models.registry import Network
from tl_core.training.strategies.strategies import AUTO, Choice, Strategy, misfit, strategies
from ui import network as drawing
from ui.words import plain

USUAL = ("partial_fine_tuning", "full_fine_tuning")
"""Always among the cards, next to the proposed one and the chosen one."""
PREFIX = "set-"
"""Of the keys of settings, which go back to the strategy's own when another is chosen."""
_KEEP = ("set-seed", "set-image_size")


@dataclass(frozen=True)
class Offer:
    """What the cards are drawn for."""

    network: Network
    classes: int
    stages: int
    """That learn where the strategy says how many of the last."""
    proposed: Choice

    def misfit(self, row: Strategy) -> str | None:
        return misfit(row, self.network, self.stages)

    def drawn(self, row: Strategy) -> tuple[drawing.Block, ...]:
        return drawing.blocks(self.network, row, stages=self.stages, classes=self.classes, steps=row.takes_steps)


def chosen_name(proposed: Choice) -> str:
    """The strategy that is chosen now, before anything is drawn."""
    name = st.session_state.get("strategy", proposed.name)
    return name if name in strategies() or name == AUTO else proposed.name


def choose(name: str) -> None:
    """Take a strategy; what was set for another one is forgotten."""
    if st.session_state.get("strategy") != name:
        for key in [key for key in st.session_state if str(key).startswith(PREFIX) and key not in _KEEP]:
            del st.session_state[key]
    st.session_state["strategy"] = name


def show(offer: Offer, chosen: str) -> None:
    """Cards of the proposed strategy, the usual ones and the chosen one; the others folded."""
    rows = strategies()
    first = dict.fromkeys((offer.proposed.name, *USUAL, chosen))
    shown = [rows[name] for name in first if name in rows]
    for column, row in zip(st.columns(len(shown)), shown, strict=True):
        with column:
            _card(offer, row, chosen)
    with st.expander(
        f"More strategies ({len(rows) - len(shown)})", icon=":material/expand_more:", key="more-strategies"
    ):
        for row in rows.values():
            if row not in shown:
                _line(offer, row, chosen)


def auto(chosen: str, says: str) -> None:
    """The line about `auto`, which looks at the pictures first; `says`: what it would take, why, and how long that is."""
    picked = chosen == AUTO
    with st.container(border=True, gap="xsmall", key="card-auto"):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(":material/auto_awesome: **Let the rule decide** :gray[(auto)]", width="stretch")
            st.button(
                "Chosen" if picked else "Choose auto",
                key="choose-auto",
                type="primary" if picked else "secondary",
                icon=":material/check:" if picked else None,
                on_click=choose,
                args=(AUTO,),
                help="Looks at your pictures first, then takes the strategy that the rule names",
            )
        st.caption(plain(says, longest=900))


def _card(offer: Offer, row: Strategy, chosen: str) -> None:
    with st.container(border=True, height="stretch", key=f"card-{row.name}"):
        badge = " :green-badge[proposed]" if row.name == offer.proposed.name else ""
        st.markdown(f"**{row.title}**{badge}")
        drawn = offer.drawn(row)
        st.image(drawing.small(drawn), width="stretch", alt=drawing.spoken(drawn))
        st.caption(plain(offer.misfit(row) or "", longest=400) or row.description)
        st.space("stretch")
        _button(offer, row, chosen, width="stretch")


def _line(offer: Offer, row: Strategy, chosen: str) -> None:
    reason = offer.misfit(row)
    with st.container(border=True, gap="xsmall", key=f"card-{row.name}"):
        with st.container(horizontal=True, vertical_alignment="center"):
            drawn = offer.drawn(row)
            st.image(drawing.small(drawn, words=False), width=92, alt=drawing.spoken(drawn))
            st.markdown(f"**{row.title}**", width="stretch")
            _button(offer, row, chosen, width=100)
        st.caption(f":material/block: {plain(reason, longest=400)}" if reason else row.description)


def _button(offer: Offer, row: Strategy, chosen: str, *, width: int | str) -> None:
    picked = row.name == chosen
    reason = offer.misfit(row)
    st.button(
        "Chosen" if picked else "Choose",
        key=f"choose-{row.name}",
        type="primary" if picked else "secondary",
        icon=":material/check:" if picked else None,
        width=width,  # type: ignore[arg-type]
        on_click=choose,
        args=(row.name,),
        help=None if reason else f"Use {row.title.lower()}",
        disabled=reason is not None and not picked,
    )
