"""The folded settings on the Train page: a widget for each option of a run that has a tab, and what the user set."""

from collections.abc import Mapping
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

TABS: Mapping[str, tuple[str, ...]] = {
    "Training": ("stages", "solver", "epochs", "image_size", "batch_size", "seed", "device", "lora_rank"),
    "Rates": (
        "optimizer",
        "learning_rate",
        "stage_rate",
        "rate_decay",
        "momentum",
        "weight_decay",
        "schedule",
        "warm_up",
    ),
    "Regularisation": (
        *("label_smoothing", "mixup", "cutmix", "ema"),
        *("patience", "clip", "class_weights", "norm_learns"),
    ),
    "Augmentation": ("augmentation", "views"),
}
"""The options in each tab; the others have a place of their own on the page."""
_STEPS = {
    **{"image_size": 32, "batch_size": 8, "clip": 0.5, "mixup": 0.1, "cutmix": 0.1, "ema": 0.01},
    **dict.fromkeys(("rate_decay", "momentum", "warm_up", "label_smoothing"), 0.05),
}
"""Steps of numbers, where they are not 1."""
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
        options = (OPTIONS[name] for name in TABS[tab])
        return [
            option
            for option in options
            if option.when in self.conditions and (option.name != "device" or _several_devices())
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
    elif option.tiny:
        st.text_input(option.title, placeholder=f"{rate_text(own) if own else '0'} (default)", max_chars=12, **common)
    else:
        # Where the smallest number is out of range itself, the widget begins a step above it.
        step = _STEPS.get(option.name, 1)
        edges = (option.limits.get("ge", step), _most(case, option), step)
        low, high, by = (int(edge) if option.kind is int else float(edge) for edge in edges)
        st.number_input(option.title, low, high, None, step=by, placeholder=f"{own:g} (default)", **common)


def _most(case: Case, option: Option) -> float:
    """The largest value of a number."""
    limits = {"le": option.limits.get("lt", 0) - _HAIR, **option.limits}
    return len(case.network.stages) if option.name == "stages" else limits["le"]
