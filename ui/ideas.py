"""The ideas behind the choices, told with the user's own case and numbers. Knows rows, rules and reports, no torch."""

from __future__ import annotations

import streamlit as st

from tl_core.errors import GraftError
from tl_core.models.registry import DEFAULT_NETWORK, Network, networks
from tl_core.runs.store.folders import RunFolder
from tl_core.training.strategies.advice import LARGE_ABOVE, RULE, SMALL_BELOW, Rule, band
from tl_core.training.strategies.strategies import AUTO, strategies
from ui import charts
from ui import network as drawing
from ui.places import Here
from ui.words import duration, interval, label, percent, plain, plural

_LAYERS = (
    ("Shallow", "stem and first stages", "Edges, colours, little patterns. Every picture is made of them, so they serve any task: keep them."),
    ("Middle", "stages half-way", "Textures and parts: fur, mesh, a wheel, an eye. Mostly of use for new things, and worth a little adapting."),
    ("Deep", "last stages", "Whole things of the old task, dog faces or cups. The more your pictures differ from it, the more these have to change."),
    ("Head", "the last layer", "Weighs what the deep layers found and names a class. It is always new, because your classes are."),
)  # fmt: skip
_BANDS = {
    "small": f"under {SMALL_BELOW:,} pictures",
    "medium": f"{SMALL_BELOW:,} to {LARGE_ABOVE:,} pictures",
    "large": f"over {LARGE_ABOVE:,} pictures",
}
_MOST_RUNS = 16


def network_now() -> Network:
    """The backbone that is chosen on the Train page."""
    table = networks()
    return table.get(st.session_state.get("backbone", DEFAULT_NETWORK), table[DEFAULT_NETWORK])


def layers() -> None:
    """What shallow, middle and deep layers learn."""
    st.header("What the layers see", anchor=False)
    st.markdown(
        "A network looks at a picture in stages, each built on the one before. It learned them on a million photos, and "
        "much of that can be used again: that is transfer learning."
    )
    for column, (name, where, text) in zip(st.columns(len(_LAYERS)), _LAYERS, strict=True):
        with column, st.container(border=True, height="stretch"):
            st.markdown(f"**{name}** :gray[{where}]")
            st.caption(text)


def ways(network: Network, classes: int) -> None:
    """How the strategies differ, with the picture of each."""
    st.header("Ways to re-train it", anchor=False)
    st.markdown(
        f"Drawn for {plain(network.name)}, from the first layers to the last. Hatched stays frozen, green learns. What is "
        "frozen cannot be spoiled and costs no time; what learns can fit your pictures better, or learn them by heart."
    )
    with st.grid(3, min_column_width=270) as tiles:
        for row in strategies().values():
            with tiles.cell(), st.container(border=True, height="stretch"):
                drawn = drawing.blocks(
                    network, row, stages=min(2, len(network.stages)), classes=classes, steps=row.takes_steps
                )
                st.markdown(f"**{row.title}** :gray[{row.name}]")
                st.image(drawing.small(drawn), width="stretch", alt=drawing.spoken(drawn))
                st.caption(row.description)


def rule(train_images: int | None, similar: bool | None) -> None:
    """When to use which: the rule as it is taught, with the user's own case marked."""
    st.header("When to use which", anchor=False)
    st.markdown(
        "It depends on how many pictures there are to learn from, and on whether they are like what the network learned "
        "before. Whether they are is measured, not guessed: “Which backbone suits my data?” on the Train page does it."
    )
    for row in RULE:
        mine = train_images is not None and row.band == band(train_images)
        sure = mine and (row.similar is None or similar is not None)
        if mine and sure and row.similar is not None and row.similar != similar:
            mine = False
        _rule(row, mine=mine, sure=sure, train_images=train_images or 0)


def _rule(row: Rule, *, mine: bool, sure: bool, train_images: int) -> None:
    likeness = {True: "much like them", False: "unlike them", None: "like them or not"}[row.similar]
    badge = ""
    if mine:
        badge = (
            f" :green-badge[your case: {train_images:,}]" if sure else f" :gray-badge[yours, perhaps: {train_images:,}]"
        )
    with st.container(border=True):
        st.markdown(f"{_BANDS[row.band].capitalize()}, {likeness}: **{strategies()[row.strategy].title}**{badge}")
        st.caption(f"{row.reason[0].upper()}{row.reason[1:]}")
        others = ", ".join(f"{strategies()[name].title}" for name, _ in row.alternatives)
        st.caption(f"Also worth a try: {others}.")


def numbers(here: Here) -> None:
    """The user's own runs on the open data set, compared by strategy."""
    st.header("Your own numbers", anchor=False)
    rows = _finished(here)
    if not rows:
        st.markdown(
            "None yet. Train once with the proposed strategy and once with another, and they are compared here."
        )
        return
    best = rows[0]
    labels = [f"{_title(run)}, {run.spec().backbone}" for run, _, _ in rows]
    figure = charts.compared(
        labels,
        [accuracy for _, (accuracy, _, _), _ in rows],
        [(low, high) for _, (_, low, high), _ in rows],
        [duration(seconds) if seconds else "" for _, _, seconds in rows],
        title=f"Best: {label(_title(best[0]))}, {percent(best[1][0])} right ({interval(*best[1][1:])})",
    )
    charts.show(figure, key="compared", alt=f"Accuracy of {len(rows)} runs with intervals; best: {_title(best[0])}")
    st.caption(
        f"{plural(len(rows), 'run')} on these pictures, each judged on its held-out ones. The bar is the range that the "
        "true share lies in, in 95 of 100 cases: where two bars overlap widely, the difference may be luck."
    )


def _finished(here: Here) -> list[tuple[RunFolder, tuple[float, float, float], float | None]]:
    """Runs on the open data set with (accuracy, low, high) and seconds, the best first."""
    found = []
    for run in here.workspace.runs():
        if here.dataset is None or run.status().state != "succeeded" or run.spec().dataset != here.dataset.id:
            continue
        try:
            test = run.report().test
        except GraftError:
            continue
        found.append((run, (test.accuracy, *test.interval), run.status().seconds.get("total")))
    return sorted(found, key=lambda entry: -entry[1][0])[:_MOST_RUNS]


def _title(run: RunFolder) -> str:
    name = run.spec().strategy
    return strategies()[name].title if name in strategies() else {AUTO: "Let the rule decide"}.get(name, name)
