"""The folded settings on the page: widgets for the rows of `ui.option_rows`, in tabs. Returns what the user changed."""

from __future__ import annotations

from typing import Any

import streamlit as st

from ui.cards import PREFIX
from ui.network import rate_text
from ui.option_rows import TABS, Case, Changed, Setting, applicable


def set_value(name: str) -> Any:
    """What the widget of that setting holds now; None where it was left alone or is not shown."""
    return st.session_state.get(PREFIX + name)


def show(case: Case) -> dict[str, Any]:
    """Draw the tabs; returns the containers of the tabs by name, for what else belongs there."""
    tabs = [tab for tab in TABS if applicable(case, tab)]
    places: dict[str, Any] = {}
    for name, tab in zip(tabs, st.tabs(tabs), strict=True):
        with tab:
            with st.grid(3, min_column_width=220):
                for setting in applicable(case, name):
                    _widget(case, setting)
            places[name] = st.container()
    return places


def changed(case: Case) -> Changed:
    """What was set, read before the widgets are drawn; what does not apply to `case` is left out."""
    found = Changed()
    for tab in TABS:
        for setting in applicable(case, tab):
            value = set_value(setting.name)
            if setting.kind == "whole" and value is not None and value > _most(case, setting):
                # Set for a backbone with more stages: its widget, too, begins anew with the other one.
                value = None
            if setting.kind == "rate" and isinstance(value, str):
                value = _rate(setting, value, found)
            if value != case.own(setting.name) or setting.kind != "switch":
                found.take(setting.name, value)
    return found


def _most(case: Case, setting: Setting) -> float:
    """The largest value of a number."""
    return len(case.network.stages) if setting.name == "stages" else setting.high


def _rate(setting: Setting, text: str, found: Changed) -> float | None:
    text = text.strip().replace(",", ".")
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        found.problems.append(f"The {setting.label.lower()} is {text[:20]!r}; it must be a number such as 3e-4.")
        return None


def _widget(case: Case, setting: Setting) -> None:
    key, own = PREFIX + setting.name, case.own(setting.name)
    common: dict[str, Any] = {"key": key, "persist_state": "session", "help": setting.help}
    if setting.kind == "switch":
        st.toggle(setting.label, bool(own), **common)
    elif setting.options is not None:
        st.selectbox(
            setting.label, list(setting.options), index=None, format_func=setting.options.__getitem__,
            placeholder=f"{setting.options.get(own, own)} (default)", **common,
        )  # fmt: skip
    elif setting.kind == "rate":
        st.text_input(setting.label, placeholder=f"{rate_text(own) if own else '0'} (default)", max_chars=12, **common)
    else:
        whole = setting.kind == "whole"
        edges = (setting.low, _most(case, setting), setting.step)
        low, high, step = ((int if whole else float)(edge) for edge in edges)
        st.number_input(setting.label, low, high, None, step=step, placeholder=f"{own:g} (default)", **common)
