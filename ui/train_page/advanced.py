"""The folded settings on the Train page: a widget for each option of a run that has a tab, and what the user set; beside the rates a test that
finds one, beside the augmentation what it does to the user's pictures.
"""

from collections.abc import Mapping
from typing import Any, get_args

import streamlit as st

from tl_core.documents.manifest import Manifest
from tl_core.documents.options import OPTIONS, Level, Option
from tl_core.documents.spec import TrainSpec
from tl_core.documents.tasks import FindRateSpec, PreviewSpec, RateCurve
from tl_core.runs.process.executor import offered_devices
from tl_core.training.strategies.strategies import AUTO
from ui import asking, charts, grids
from ui.drawing import rate_text
from ui.places import Here
from ui.train_page import backbones
from ui.train_page.cards import PREFIX
from ui.train_page.proposal import Case, Proposal

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
_SAME = ("dataset", "backbone", "weights", "strategy", "solver", "stages", "image_size", "batch_size", "seed")
_RATES = {"learning_rate": 0.0, "stage_rate": 0.0}
"""Settings of the recipe that the test finds, so an answer at other values of them is shown, too."""
_COPIES = 4
_SIZE = 160


def _options(case: Case, tab: str) -> list[Option]:
    """The options in `tab` that have an effect."""
    options = (OPTIONS[name] for name in TABS[tab])
    return [
        option
        for option in options
        if option.when in case.conditions and (option.name != "device" or _several_devices())
    ]


def _several_devices() -> bool:
    """Whether there is a device to choose beside the processor."""
    return len(offered_devices()) > 2


def set_value(name: str) -> Any:
    """What the widget of that option holds now; None where it was left alone or is not shown."""
    return st.session_state.get(PREFIX + name)


def show(here: Here, proposal: Proposal, manifest: Manifest) -> None:
    """The tabs, and in each what else belongs there."""
    case = proposal.case
    tabs = [tab for tab in TABS if _options(case, tab)]
    for name, tab in zip(tabs, st.tabs(tabs), strict=True):
        with tab:
            with st.grid(3, min_column_width=220):
                for option in _options(case, name):
                    _widget(case, option)
            if name == "Training":
                backbones.weights_choice(case.network)
            elif name == "Rates":
                _find_rate(here, proposal)
            elif name == "Augmentation":
                _preview(here, proposal, manifest)


def asked(case: Case) -> dict[str, Any]:
    """What was set, read before the widgets are drawn; what has no effect on `case` is left out."""
    values: dict[str, Any] = {}
    for option in (option for tab in TABS for option in _options(case, tab)):
        value = set_value(option.name)
        if isinstance(value, str) and not option.choices:
            value = value.strip().replace(",", ".") or None
        if isinstance(value, int) and option.kind is int and value > _most(case, option):
            # Set for a backbone with more stages: its widget, too, begins anew with the other one.
            value = None
        if value is not None and not (_switch(option) and value == case.own[option.name]):
            values[option.name] = value
    return values


def _switch(option: Option) -> bool:
    return option.kind is bool and option.words is None


def _widget(case: Case, option: Option) -> None:
    usual = case.own[option.name]
    common: dict[str, Any] = {"key": PREFIX + option.name, "persist_state": "session", "help": option.help}
    if _switch(option):
        st.toggle(option.title, bool(usual), **common)
    elif option.choices or option.words:
        choices = offered_devices() if option.name == "device" else option.choices or (True, False)
        words = {choice: (option.words or {}).get(choice, str(choice)) for choice in choices}
        st.selectbox(
            option.title, list(words), index=None, format_func=words.__getitem__,
            placeholder=f"{words.get(usual, usual)} (default)", **common,
        )  # fmt: skip
    elif option.tiny:
        st.text_input(
            option.title, placeholder=f"{rate_text(usual) if usual else '0'} (default)", max_chars=12, **common
        )
    else:
        # Where the smallest number is out of range itself, the widget begins a step above it.
        step = _STEPS.get(option.name, 1)
        edges = (option.limits.get("ge", step), _most(case, option), step)
        low, high, by = (int(edge) if option.kind is int else float(edge) for edge in edges)
        st.number_input(option.title, low, high, None, step=by, placeholder=f"{usual:g} (default)", **common)


def _most(case: Case, option: Option) -> float:
    """The largest value of a number."""
    limits = {"le": option.limits.get("lt", 0) - _HAIR, **option.limits}
    return len(case.network.stages) if option.name == "stages" else limits["le"]


def _find_rate(here: Here, proposal: Proposal) -> None:
    """A range test of the learning rate, which a job runs, and its curve with "Use this rate"."""
    if proposal.chosen == AUTO or proposal.problems():
        return
    spec = proposal.setup.spec
    task = asking.panel(
        here.workspace,
        FindRateSpec(train=spec),
        "Find a learning rate",
        task=asking.latest(here.workspace, FindRateSpec, lambda asked: _alike(asked.train, spec)),
        again=True,
        key="find-rate",
        icon=":material/query_stats:",
        help="Trains for a moment while the rate rises, and looks where the loss falls fastest (arXiv 1506.01186)",
    )
    curve = task.answer(RateCurve) if task else None
    if task is None or curve is None:
        return
    suggested = rate_text(curve.suggested)
    figure = charts.rate_curve(
        curve.rates, curve.losses, curve.suggested, title=f"The loss falls fastest up to {suggested}"
    )
    charts.show(figure, key=f"rate-{task.id}", alt=f"Loss against learning rate; suggested: {suggested}")
    ratio = spec.recipe.stage_rate / spec.recipe.learning_rate
    st.button(
        "Use this rate", key="use-rate", icon=":material/check:", on_click=_use, args=(proposal, curve.suggested, ratio)
    )


def _alike(one: TrainSpec, other: TrainSpec) -> bool:
    recipes = [spec.recipe.model_copy(update=_RATES) for spec in (one, other)]
    return recipes[0] == recipes[1] and all(getattr(one, name) == getattr(other, name) for name in _SAME)


def _use(proposal: Proposal, rate: float, ratio: float) -> None:
    """Set the head's rate, and the rates of the stages in proportion."""
    st.session_state[f"{PREFIX}learning_rate"] = rate_text(rate)
    if proposal.setup.strategy.takes_steps:
        st.session_state[f"{PREFIX}stage_rate"] = rate_text(rate * ratio)


def _preview(here: Here, proposal: Proposal, manifest: Manifest) -> None:
    """What each level of augmentation does to the user's own pictures: copies that a job makes, a row for every level."""
    dataset, level = proposal.dataset, proposal.setup.spec.recipe.augmentation
    spec = PreviewSpec(
        workspace=here.workspace.token,
        dataset=dataset.id,
        version=dataset.number,
        rows=_rows(manifest),
        copies=_COPIES,
        image_size=_SIZE,
    )
    task = asking.panel(
        here.workspace,
        spec,
        "Show it on my pictures",
        key="preview",
        icon=":material/auto_fix_high:",
        help="Makes a few changed copies with each level, as training would",
    )
    if task is None:
        return
    for name in get_args(Level):
        files = [task.path / f"{name}-{row}-{copy}.jpg" for row in spec.rows for copy in range(_COPIES)]
        st.caption(f"**{name}**" + (" :green-badge[would be used]" if name == level else ""))
        grids.strip(files, alt=f"pictures changed with level {name}", places=len(files))


def _rows(manifest: Manifest) -> tuple[int, ...]:
    """The first picture of each of two classes."""
    labels = [image.label for image in manifest.images]
    return tuple(labels.index(label) for label in dict.fromkeys(labels[:1] + labels[-1:]))
