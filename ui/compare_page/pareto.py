"""Draws accuracy against what a run costs, with the runs that no other one beats in both (the Pareto front)."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go
import streamlit as st

from tl_core.runs.comparing import Together
from ui import charts
from ui.compare_page.choosing import LETTERS
from ui.words import label


def show(found: Together) -> None:
    """Two figures: accuracy against the seconds of the run, and against the size of its bundle."""
    st.subheader("What it costs", anchor=False, help="Accuracy against time and size, with the Pareto front")
    left, right = st.columns(2, gap="medium")
    accuracies = [one.accuracy for one in found.figures]
    ranges = [one.interval for one in found.figures]
    names = [one.name for one in found.figures]
    costs = (
        (left, "seconds", "faster", "seconds of the whole run", [one.seconds for one in found.figures]),
        (right, "size", "smaller", "size of the bundle, MB", [one.megabytes for one in found.figures]),
    )
    for place, key, word, axis, values in costs:
        known = [at for at, value in enumerate(values) if value]
        if not known:
            continue
        # As the table has them: a few bytes make no difference.
        some = [round(values[at] or 0.0, 1) for at in known]
        on_front = front(some, [accuracies[at] for at in known])
        letters = [LETTERS[at] for at in known]
        title = said(sorted(letters[at] for at in on_front), word)
        with place:
            figure = drawn(
                letters,
                [names[at] for at in known],
                some,
                [accuracies[at] for at in known],
                [ranges[at] for at in known],
                on_front,
                axis=axis,
                title=title,
            )
            charts.show(figure, key=f"pareto-{key}", alt=f"Accuracy against {axis}, with intervals. {title}")
    st.caption(
        "The line is the Pareto front: of each run off it, another one is at least as good in both. Bars are the ranges for 95 of 100 cases; "
        "where they overlap widely, the order may be chance."
    )


def front(costs: Sequence[float], accuracies: Sequence[float]) -> list[int]:
    """The positions, by rising cost, of those that no other is better than in one of the two and at least as good as in the other."""
    points = list(zip(costs, accuracies, strict=True))
    kept = [
        at
        for at, (cost, accuracy) in enumerate(points)
        if not any(other[0] <= cost and other[1] >= accuracy and other != (cost, accuracy) for other in points)
    ]
    return sorted(kept, key=lambda at: points[at])


def said(letters: Sequence[str], word: str) -> str:
    """The title: which runs are on the front; `word` says what less cost is called, such as "faster"."""
    if len(letters) == 1:
        return f"{letters[0]}: none is {word} or more often right"
    return f"On the Pareto front: {', '.join(letters)}"


def drawn(
    letters: Sequence[str],
    names: Sequence[str],
    costs: Sequence[float],
    accuracies: Sequence[float],
    ranges: Sequence[tuple[float, float]],
    on_front: Sequence[int],
    *,
    axis: str,
    title: str,
) -> go.Figure:
    """One lettered point for each run with its interval, and the front as a line; `axis` names the cost."""
    figure = charts.titled(title, 320)
    figure.add_scatter(
        x=[costs[at] for at in on_front],
        y=[accuracies[at] for at in on_front],
        mode="lines",
        name="Pareto front",
        line={"color": charts.MUTED, "width": 2, "dash": "dot"},
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=list(costs),
        y=list(accuracies),
        mode="markers+text",
        text=[f"<b>{letter}</b>" for letter in letters],
        textposition="middle right",
        marker={
            "size": 11,
            "color": [charts.TRAINABLE if at in on_front else charts.FROZEN for at in range(len(costs))],
        },
        error_y=charts.error_bars(accuracies, ranges) | {"color": charts.FROZEN, "thickness": 2, "width": 4},
        customdata=[[label(name, longest=40), *both] for name, both in zip(names, ranges, strict=True)],
        hovertemplate="%{customdata[0]}: %{y:.1%} right (%{customdata[1]:.0%} to %{customdata[2]:.0%}), %{x:.3~g}<extra></extra>",
        cliponaxis=False,
    )
    low, high = min(low for low, _ in ranges), max(high for _, high in ranges)
    figure.update_layout(showlegend=False, margin={"r": 24})
    figure.update_yaxes(tickformat=".0%", range=[max(0.0, low - 0.03), min(1.0, high) + 0.02], title={"text": "right"})
    wide = max(costs) > 20 * min(costs)
    figure.update_xaxes(
        title={"text": axis, "standoff": 6},
        showgrid=True,
        **({"type": "log", "dtick": 1} if wide else {"range": [0, 1.12 * max(costs)]}),
    )
    return figure
