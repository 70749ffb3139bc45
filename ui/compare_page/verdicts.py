"""Shows on the Compare page which run is better, and what each reached and cost."""

from collections.abc import Sequence
from itertools import combinations

import plotly.graph_objects as go
import streamlit as st

from tl_core.data.split import HELD_OUT
from tl_core.documents.report import Comparison
from tl_core.markdown import escaped
from tl_core.runs.comparing import Together
from tl_core.runs.store.folders import RunFolder
from ui import charts, listing, runview
from ui.compare_page.choosing import LETTERS
from ui.places import EVALUATE, PRESENT, Here
from ui.words import in_a_row, interval, label, percent, plain, plural


def show(here: Here, compared: Together) -> None:
    """The verdict as a headline, how it came about, what to keep in mind, a table of the runs, and the ways on to each."""
    letters = LETTERS[: len(compared.runs)]
    pairs = list(combinations(letters, 2))
    st.header(headline(told_apart(compared.runs) if len(pairs) == 1 else pairs, compared.comparisons), anchor=False)
    units = compared.comparisons[0].groups
    alone = units == len(compared.pictures)
    grouped = "" if alone else f", in {units:,} groups of pictures that show the same thing,"
    st.caption(
        f"On the {plural(len(compared.pictures), 'test picture')}{grouped} that all of these runs were judged on and none learned from. "
        + (_details(compared.comparisons[0]) if len(pairs) == 1 else _CORRECTED)
    )
    for caution in compared.cautions():
        st.warning(escaped(caution), icon=":material/warning:")
    _table(compared, letters)
    _ways_on(here, compared, letters)
    if len(pairs) > 1:
        _pairs(pairs, compared.comparisons)


_CORRECTED = (
    "“Better” and “worse” are said where chance would favour one of two equally good runs as much in less than one of twenty cases, corrected "
    "for the number of pairs (McNemar's exact test, Holm's correction)."
)


def told_apart(runs: Sequence[RunFolder]) -> list[tuple[str, str]]:
    """The letters of two runs, each with the settings in brackets that the other does not have, as literal text in Markdown."""
    a, b = (runview.settings(run) for run in runs)
    differing = ([part for part in a if part not in b], [part for part in b if part not in a])
    first, second = (
        f"{letter} ({plain(', '.join(parts), longest=80)})" if parts else letter
        for letter, parts in zip(LETTERS, differing, strict=False)
    )
    return [(first, second)]


def headline(pairs: list[tuple[str, str]], comparisons: tuple[Comparison, ...]) -> str:
    """What was found, in a sentence; `pairs` name the two runs of each comparison, in Markdown."""
    if len(pairs) == 1:
        (a, b), comparison = pairs[0], comparisons[0]
        return (
            f"{b} is {comparison.said} than {a}"
            if comparison.verdict != "cannot_tell"
            else f"{comparison.said[0].upper()}{comparison.said[1:]}"
        )
    better = [
        (b, a) if comparison.verdict == "better" else (a, b)
        for (a, b), comparison in zip(pairs, comparisons, strict=True)
        if comparison.verdict != "cannot_tell"
    ]
    pictures = plural(comparisons[0].images, "picture")
    if not better:
        return f"Cannot tell any two of them apart with {pictures}"
    winners = dict.fromkeys(winner for winner, _ in better)
    sentence = ", ".join(
        f"{winner} is better than {in_a_row([loser for better_one, loser in better if better_one == winner])}"
        for winner in winners
    )
    return sentence if len(better) == len(pairs) else f"{sentence}; the others cannot be told apart with {pictures}"


def _details(comparison: Comparison) -> str:
    low, high = comparison.interval
    points = f"{100 * comparison.difference:+.1f} points ({100 * low:+.1f} to {100 * high:+.1f})".replace("-", "−")
    return (
        f"Accuracy of B minus that of A: {points}. Two equally good runs would differ by as much in {percent(comparison.p_value)} of cases (McNemar's exact "
        "test); below 5 %, one is called better."
        + (_NEEDED if comparison.images_needed else "")
        + (_EXACT if comparison.verdict == "cannot_tell" and not low <= 0 <= high else "")
    )


_NEEDED = f" The number of pictures that would tell is one of test pictures, which are about {percent(HELD_OUT)} of a data set."
_EXACT = " The range leaves out no difference, but it is an approximation: with so few answers that differ, the exact test decides."


def _table(compared: Together, letters: str) -> None:
    rows = list(zip(letters, compared.figures, compared.runs, strict=True))
    table: dict[str, Sequence[object]] = {
        "Run": [f"{letter}  {figures.name}" for letter, figures, _ in rows],
        "Right": [100 * figures.accuracy for _, figures, _ in rows],
        "In 95 of 100 cases": [interval(*figures.interval) for _, figures, _ in rows],
        "Seconds": [figures.seconds for _, figures, _ in rows],
        "MB": [figures.megabytes for _, figures, _ in rows],
        "How": [runview.described(run) for _, _, run in rows],
    }
    config = {
        "Run": st.column_config.TextColumn(width=180),
        "Right": st.column_config.NumberColumn(
            help="Share of these pictures that it named rightly", format="%.1f %%", width=70
        ),
        "In 95 of 100 cases": st.column_config.TextColumn(
            help="The range that holds the true share in 95 of 100 cases", width=110
        ),
        "Seconds": st.column_config.NumberColumn(
            help="The whole run, without waiting; what was computed before and kept took none", format="%.1f", width=80
        ),
        "MB": st.column_config.NumberColumn(help="Size of its bundle", format="%.1f", width=70),
        "How": st.column_config.TextColumn(
            help="Backbone, strategy, and the version of the data set unless it is the first"
        ),
    }
    listing.table(table, config=config, key="compared-runs")


def _ways_on(here: Here, compared: Together, letters: str) -> None:
    with st.container(horizontal=True, gap="small"):
        for letter, run in zip(letters, compared.runs, strict=True):
            for place in (EVALUATE, PRESENT):
                label, key = f"{place.name} {letter}", f"{place.name}-{run.id}"
                if st.button(label, key=key, icon=place.icon, type="tertiary"):
                    here.go(place, run=run.id)


def _pairs(pairs: list[tuple[str, str]], comparisons: tuple[Comparison, ...]) -> None:
    table: dict[str, Sequence[object]] = {
        "Pair": [f"{b} against {a}" for a, b in pairs],
        "Verdict": [comparison.said for comparison in comparisons],
        "Points": [100 * comparison.difference for comparison in comparisons],
        "From": [100 * comparison.interval[0] for comparison in comparisons],
        "To": [100 * comparison.interval[1] for comparison in comparisons],
        "p": [comparison.p_value for comparison in comparisons],
        "Differ": [comparison.differ for comparison in comparisons],
    }
    config = {
        "Pair": st.column_config.TextColumn(width=100),
        "Points": st.column_config.NumberColumn(
            help="Difference in accuracy, percentage points", format="%+.1f", width=70
        ),
        "From": st.column_config.NumberColumn(help="Its 95 % interval", format="%+.1f", width=60),
        "To": st.column_config.NumberColumn(help="Its 95 % interval", format="%+.1f", width=60),
        "p": st.column_config.NumberColumn(help="Corrected p-value", format="%.3f", width=60),
        "Differ": st.column_config.NumberColumn(help="Pictures on which the answers differ", width=60),
    }
    listing.table(table, config=config, key="compared-pairs")


def costs(compared: Together) -> None:
    """Two figures: accuracy against the seconds of the run, and against the size of its bundle."""
    st.subheader("What it costs", anchor=False, help="Accuracy against time and size, with the Pareto front")
    left, right = st.columns(2, gap="medium")
    accuracies = [figures.accuracy for figures in compared.figures]
    ranges = [figures.interval for figures in compared.figures]
    names = [figures.name for figures in compared.figures]
    cost_axes = (
        (left, "seconds", "faster", "seconds of the whole run", [figures.seconds for figures in compared.figures]),
        (right, "size", "smaller", "size of the bundle, MB", [figures.megabytes for figures in compared.figures]),
    )
    for place, key, word, axis, values in cost_axes:
        measured = [at for at, value in enumerate(values) if value]
        if not measured:
            continue
        # As the table has them: a few bytes make no difference.
        some = [round(values[at] or 0.0, 1) for at in measured]
        on_front = front(some, [accuracies[at] for at in measured])
        letters = [LETTERS[at] for at in measured]
        title = front_title(sorted(letters[at] for at in on_front), word)
        with place:
            figure = _front_figure(
                letters,
                [names[at] for at in measured],
                some,
                [accuracies[at] for at in measured],
                [ranges[at] for at in measured],
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
    undominated = [
        at
        for at, (cost, accuracy) in enumerate(points)
        if not any(other[0] <= cost and other[1] >= accuracy and other != (cost, accuracy) for other in points)
    ]
    return sorted(undominated, key=lambda at: points[at])


def front_title(letters: Sequence[str], word: str) -> str:
    """The title: which runs are on the front; `word` says what less cost is called, such as "faster"."""
    if len(letters) == 1:
        return f"{letters[0]}: none is {word} or more often right"
    return f"On the Pareto front: {', '.join(letters)}"


def _front_figure(
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
