"""Finding a learning rate: a job runs a range test, and the page shows its curve with "Use this rate"."""

import streamlit as st

from tl_core.documents.spec import TrainSpec
from tl_core.documents.tasks import FindRateSpec, RateCurve
from tl_core.training.strategies.strategies import AUTO
from ui import asking, charts
from ui.drawing import rate_text
from ui.places import Here
from ui.train_page.cards import PREFIX
from ui.train_page.proposal import Proposal

_SAME = ("dataset", "backbone", "weights", "strategy", "solver", "stages", "image_size", "batch_size", "seed")
_RATES = {"learning_rate": 0.0, "stage_rate": 0.0}
"""Settings of the recipe that the test finds, so an answer at other values of them is shown, too."""


def show(here: Here, proposal: Proposal) -> None:
    """The button, the progress of the test, and its curve."""
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
