"""A race on the Train page: folded below Start what to race and within what time; then the leaderboard that fills while it works, what
it came to, and what can be done next.
"""

from typing import Any

import streamlit as st

from tl_core.documents.options import OPTIONS
from tl_core.documents.report import ContestantState, Leaderboard, Standing
from tl_core.errors import GraftError
from tl_core.runs.comparing import first_against_others, leaderboard, missing
from tl_core.runs.start import jobs, races
from tl_core.runs.store.folders import RaceFolder
from tl_core.training.strategies.strategies import misfit, strategies
from ui import actions, live, runview
from ui.places import COMPARE, EVALUATE, TRAIN, Here
from ui.train_page import backbones
from ui.train_page.proposal import Proposal
from ui.words import duration, interval, percent, plain, plural, strategy_title

_LONGEST = 60
"""Minutes."""
_OWN = ("backbone", "weights", "strategy")
"""Options that the form has places of its own for."""
_STATES: dict[ContestantState, str] = {"waiting": "queued", "done": "succeeded"}
"""States of runs, where the leaderboard has another word."""


def propose(here: Here, proposal: Proposal) -> None:
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


def watch(here: Here, race: RaceFolder) -> None:
    """The live view; redraws the page when the race has ended."""
    live.each_second([race], lambda: _at_work(here, race))


def _at_work(here: Here, race: RaceFolder) -> None:
    followed, board = live.follow(race), leaderboard(race)
    with runview.framed(here, race, _facts(board)):
        st.progress(followed.fraction, text=followed.sentence)
        _rows(here, board, live=True)


def ended(here: Here, race: RaceFolder) -> None:
    """What became of a race, and what can be done now."""
    board, left = leaderboard(race), missing(race)
    with runview.framed(here, race, _facts(board)):
        _rows(here, board, live=False)
        _verdicts(here, race, board)
        if left:
            st.button(
                f"Go on with {plural(len(left), 'run')} that {'is' if len(left) == 1 else 'are'} missing",
                key="race-go-on",
                icon=":material/resume:",
                on_click=actions.begin,
                args=(here.workspace, f"go on {race.id}", lambda: jobs.go_on(race, workspace=here.workspace)),
            )


def _facts(board: Leaderboard) -> str:
    spent = f"{duration(board.spent)} of " if board.spent else ""
    return f"{plural(len(board.rows), 'run')}, {spent}{duration(board.budget)}"


def _rows(here: Here, board: Leaderboard, *, live: bool) -> None:
    """A line for each run, the best on the validation pictures first."""
    if board.val_images:
        chose = f"Ordered by the {plural(board.val_images, 'validation picture')}, by which the best is chosen"
        judges = f"the {plural(board.test_images, 'test picture')} only judge."
        st.caption(f"{chose}; {judges} In brackets the range in which the true share lies, in 95 of 100 cases.")
    for place, row in enumerate(board.rows, start=1):
        _row(here, row, place if row.val_accuracy is not None else None, live=live)


def _row(here: Here, row: Standing, place: int | None, *, live: bool) -> None:
    number = "" if place is None else f"{place}. "
    with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"contestant-{row.run}"):
        with st.container(width=640, gap=None):
            st.markdown(f"**{number}{strategy_title(row.strategy)}** :gray[{plain(row.backbone)}{_progress(row)}]")
            figures = _figures(row)
            if figures:
                st.markdown(figures)
            if row.reason:
                st.caption(plain(row.reason, longest=400))
        st.space("stretch")
        runview.badge(_STATES.get(row.state, row.state))
        if row.state != "deleted":
            done = row.state == "done"
            if st.button("Evaluate" if done else "Open", key=f"open-{row.run}-{live}", type="tertiary"):
                here.go(EVALUATE if done else TRAIN, run=row.run)


def _progress(row: Standing) -> str:
    parts = [] if row.epochs is None else [f"epoch {row.epochs} of {row.planned_epochs}"]
    if row.seconds is not None:
        parts.append(duration(row.seconds))
    elif row.state == "waiting" and row.expected_seconds is not None:
        parts.append(f"about {duration(row.expected_seconds)}")
    return "".join(f", {part}" for part in parts)


def _figures(row: Standing) -> str:
    """The accuracies that are known, with their intervals."""
    parts = []
    if row.val_accuracy is not None and row.val_interval is not None:
        best = "" if row.state == "done" else " at best"
        parts.append(f"{percent(row.val_accuracy)} right on validation pictures{best} ({interval(*row.val_interval)})")
    if row.test_accuracy is not None and row.test_interval is not None:
        parts.append(f"{percent(row.test_accuracy)} on test pictures ({interval(*row.test_interval)})")
    return "; ".join(parts)


def _verdicts(here: Here, race: RaceFolder, board: Leaderboard) -> None:
    """What the test says of the first one against the others."""
    titles = {row.run: f"“{strategy_title(row.strategy)}” on {plain(row.backbone)}" for row in board.rows}
    verdicts = first_against_others(race)
    if not verdicts:
        return
    st.markdown(f"**What the test pictures say of {titles[board.rows[0].run]}**")
    for verdict in verdicts:
        st.markdown(f"- Against {titles[verdict.run]}: {verdict.comparison.said}.")
    if st.button("Compare them", icon=COMPARE.icon, key="race-compare"):
        here.go(COMPARE, compare=[row.run for row in board.rows if row.state == "done"])
