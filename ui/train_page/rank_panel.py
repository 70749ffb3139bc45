"""Which backbone suits these pictures: a job compares those that are here, and the page lists them, the best first."""

import streamlit as st

from tl_core.documents.tasks import RankedBackbone, Ranking, RankSpec
from tl_core.models.registry import networks
from tl_core.runs.store.folders import DatasetFolder, TaskFolder
from ui import asking
from ui.places import Here
from ui.train_page import backbones
from ui.words import duration, interval, percent, plain, plural

MOST = 12
"""Largest number of backbones in one comparison; those that the page recommends come first."""


def newest(here: Here) -> TaskFolder | None:
    """The last comparison on the open data set, also of other backbones than those that are here now."""
    dataset = here.dataset
    if dataset is None:
        return None
    wanted = (dataset.id, dataset.number)
    return asking.latest(here.workspace, RankSpec, lambda spec: (spec.dataset, spec.version) == wanted)


def answer(here: Here) -> Ranking | None:
    """The result of the last comparison on the open data set; None until it has succeeded."""
    task = newest(here)
    return task.answer(Ranking) if task else None


def similar(here: Here, backbone: str) -> bool | None:
    """Whether the open data set is like what `backbone` learned before; None where that was not measured."""
    ranking = answer(here)
    return next((row.similar for row in (ranking.rows if ranking else ()) if row.backbone == backbone), None)


def show(here: Here, dataset: DatasetFolder) -> None:
    """The button, the progress of the comparison, and its result in a folded box."""
    names = candidates()
    if not names:
        return
    task = asking.panel(
        here.workspace,
        RankSpec(
            workspace=here.workspace.token, dataset=dataset.id, version=dataset.number, backbones=names, device="auto"
        ),
        "Which backbone suits my data?",
        task=newest(here),
        again=True,
        key="rank",
        icon=":material/leaderboard:",
        help=f"Tries {plural(len(names), 'network that is', 'networks that are')} here now on your pictures, frozen",
    )
    ranking = task.answer(Ranking) if task else None
    if ranking and ranking.rows:
        best = ranking.rows[0]
        title = f"Best on these pictures: {best.backbone}, {percent(best.accuracy)} right"
        with st.expander(title, icon=":material/leaderboard:", key="ranking"):
            _result(ranking)


def candidates() -> tuple[str, ...]:
    """The networks to compare: those whose weights are here now, recommended ones first."""
    here = backbones.here_now()
    first = [name for name in backbones.RECOMMENDED if name in here]
    return tuple(dict.fromkeys((*first, *here)))[:MOST]


def _result(ranking: Ranking) -> None:
    st.caption(
        f"Frozen, with a fitted last layer, cross-validated on {plural(ranking.images, 'picture')} to learn from; in brackets "
        "the range that the true share lies in, in 95 of 100 cases. LogME scores the same features another way; higher is better."
    )
    for row in ranking.rows:
        _row(row)
    for name, reason in ranking.failed.items():
        st.caption(f":material/block: {plain(name)}: {plain(reason, longest=400)}")


def _row(row: RankedBackbone) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key=f"ranked-{row.backbone}"):
        likeness = "much like what it learned before" if row.similar else "unlike what it learned before"
        st.markdown(
            f"**{plain(row.backbone)}** {percent(row.accuracy)} ({interval(*row.interval)}) "
            f":gray[LogME {row.logme:.2f}, {duration(row.seconds)} for all pictures; these are {likeness}]",
            width="stretch",
        )
        chosen = st.session_state.get("backbone") == row.backbone
        if row.backbone in networks():
            st.button(
                "In use" if chosen else "Use it",
                key=f"use-{row.backbone}",
                disabled=chosen,
                on_click=backbones.take,
                args=(row.backbone,),
                width=90,
            )
