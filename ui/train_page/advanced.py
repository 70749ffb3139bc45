"""The folded settings on the Train page: a widget for each option of a run that has a tab, and what the user set."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import streamlit as st

from tl_core.documents.options import OPTIONS, Condition, Option
from tl_core.models.registry import Network
from tl_core.runs.process.executor import offered_devices
from tl_core.runs.start.training_spec import unchanged
from tl_core.training.strategies.strategies import Strategy
from ui.drawing import rate_text
from ui.train_page.cards import PREFIX

TABS = tuple(dict.fromkeys(option.tab for option in OPTIONS.values() if option.tab))
_HAIR = 1e-4
"""How far a number stays below the end of a range that it must not reach."""


@dataclass(frozen=True)
class Case:
    """The run that the settings are for."""

    network: Network
    weights: str
    strategy: Strategy
    conditions: frozenset[Condition]
    """The conditions that this run meets, whatever strategy `auto` may still find."""

    @cached_property
    def own(self) -> dict[str, Any]:
        """The value of each option where the user leaves it alone."""
        return unchanged(self.strategy, self.network, self.weights)

    def options(self, tab: str) -> list[Option]:
        """The options in `tab` that have an effect."""
        return [
            option
            for option in OPTIONS.values()
            if option.tab == tab and option.when in self.conditions and (option.name != "device" or _several_devices())
        ]


def _several_devices() -> bool:
    """Whether there is a device to choose beside the processor."""
    return len(offered_devices()) > 2


def set_value(name: str) -> Any:
    """What the widget of that option holds now; None where it was left alone or is not shown."""
    return st.session_state.get(PREFIX + name)


def show(case: Case) -> dict[str, Any]:
    """Draw the tabs; returns the containers of the tabs by name, for what else belongs there."""
    tabs = [tab for tab in TABS if case.options(tab)]
    places: dict[str, Any] = {}
    for name, tab in zip(tabs, st.tabs(tabs), strict=True):
        with tab:
            with st.grid(3, min_column_width=220):
                for option in case.options(name):
                    _widget(case, option)
            places[name] = st.container()
    return places


def asked(case: Case) -> dict[str, Any]:
    """What was set, read before the widgets are drawn; what has no effect on `case` is left out."""
    found: dict[str, Any] = {}
    for option in (option for tab in TABS for option in case.options(tab)):
        value = set_value(option.name)
        if isinstance(value, str) and not option.choices:
            value = value.strip().replace(",", ".") or None
        if isinstance(value, int) and option.kind is int and value > _most(case, option):
            # Set for a backbone with more stages: its widget, too, begins anew with the other one.
            value = None
        if value is not None and not (_switch(option) and value == case.own[option.name]):
            found[option.name] = value
    return found


def _switch(option: Option) -> bool:
    return option.kind is bool and option.words is None


def _widget(case: Case, option: Option) -> None:
    own = case.own[option.name]
    common: dict[str, Any] = {"key": PREFIX + option.name, "persist_state": "session", "help": option.help}
    if _switch(option):
        st.toggle(option.title, bool(own), **common)
    elif option.choices or option.words:
        choices = offered_devices() if option.name == "device" else option.choices or (True, False)
        words = {choice: (option.words or {}).get(choice, str(choice)) for choice in choices}
        st.selectbox(
            option.title, list(words), index=None, format_func=words.__getitem__,
            placeholder=f"{words.get(own, own)} (default)", **common,
        )  # fmt: skip
    elif option.kind is float and option.step is None:
        st.text_input(option.title, placeholder=f"{rate_text(own) if own else '0'} (default)", max_chars=12, **common)
    else:
        # Where the smallest number is out of range itself, the widget begins a step above it.
        edges = (option.limits.get("ge", option.step or 0), _most(case, option), option.step or 1)
        low, high, step = (int(edge) if option.kind is int else float(edge) for edge in edges)
        st.number_input(option.title, low, high, None, step=step, placeholder=f"{own:g} (default)", **common)


def _most(case: Case, option: Option) -> float:
    """The largest value of a number."""
    limits = {"le": option.limits.get("lt", 0) - _HAIR, **option.limits}
    return len(case.network.stages) if option.name == "stages" else limits["le"]
