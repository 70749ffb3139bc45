"""Every plotly figure, in one template: numbers in, figures out.

Colours are chosen to be read on a light and on a dark page; text takes the page's own colour in the browser.
"""

import copy
import html
import math
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

# Plotly uses pandas as soon as another thread has begun to import it; here each thread waits until it is whole.
import pandas as pd  # noqa: F401
import plotly.graph_objects as go
import plotly.io as pio
import streamlit as st  # its import registers the template that follows the page's theme

from ui.words import NARROW, SPLIT_WORDS, file_stem, label, percent

FROZEN = "#8BA0B2"
"""The colour of what stays frozen: a cool blue-grey."""
TRAINABLE = "#3C9B63"
"""The colour of what learns: the green of a shoot."""
MUTED = "rgba(128,140,134,0.45)"
_TEXT_UP_TO = 24
"""The most classes of a confusion matrix with which a number fits into its cell."""
MOST_BARS = 40
"""The most classes whose pictures are counted in bars."""
_TITLE_LINE = 38
"""Characters of a title that fit on one line beside the button that saves the figure, on a phone."""
_LINE_HEIGHT = 18
"""Pixels."""
_TOP = 44
"""Pixels above the axes of a figure whose title has one line."""


def _template() -> go.layout.Template:
    template = copy.deepcopy(pio.templates["streamlit"])
    template.layout.update(
        margin={"l": 8, "r": 8, "t": _TOP, "b": 8},
        title={"font": {"size": 15}, "x": 0, "xanchor": "left", "yanchor": "top", "y": 1, "pad": {"t": 10}},
        legend={"orientation": "h", "x": 0, "y": -0.28, "yanchor": "top", "title": {"text": ""}},
        hoverlabel={"font": {"size": 13}},
        dragmode=False,
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": "#7C8A83", "activecolor": TRAINABLE},
    )
    for axis in (template.layout.xaxis, template.layout.yaxis):
        axis.update(zeroline=False, fixedrange=True, automargin=True, showgrid=False)
    template.layout.yaxis.update(showgrid=True)
    return template


pio.templates["graft"] = _template()


def show(figure: go.Figure, *, key: str, alt: str, lasso: bool = False, **selecting: Any) -> Any:
    """Draw `figure` with a button that saves it as a PNG; what `st.plotly_chart` returns.

    `alt` is read out by a screen reader: what the figure shows. `lasso`: points are selected by drawing around them, so there are buttons
    for that, too. `selecting`: what `st.plotly_chart` takes for selections.
    """
    return st.plotly_chart(figure, key=key, config=_config(figure, lasso=lasso), alt=alt, **selecting)


def _config(figure: go.Figure, *, lasso: bool) -> dict[str, Any]:
    """Plotly's configuration. The button is plotly's own: it can be reached by keyboard, and saves the figure as it stands, on the page's background."""
    title = html.unescape(figure.layout.title.text or "").replace("<br>", " ")
    return {
        "displayModeBar": True,
        "displaylogo": False,
        "scrollZoom": False,
        "doubleClick": False,
        "modeBarButtons": [[*(["lasso2d", "select2d"] if lasso else []), "toImage"]],
        "toImageButtonOptions": {"format": "png", "scale": 2, "filename": file_stem(title)},
    }


def titled(title: str, height: int, **layout: Any) -> go.Figure:
    """An empty figure in the template of all figures; `title` says what it shows, `height` is in pixels, without further lines of the title.

    `layout`: what is other in its layout.
    """
    lines = textwrap.wrap(title, _TITLE_LINE, break_long_words=False, break_on_hyphens=False)
    more = _LINE_HEIGHT * max(0, len(lines) - 1)
    figure = go.Figure(
        layout={
            "template": "graft",
            "title": {"text": "<br>".join(lines)},
            "height": height + more,
            "margin": {"t": _TOP + more},
        }
    )
    return figure.update_layout(**layout)


@st.cache_resource(max_entries=16, show_spinner=False)
def class_counts(classes: Sequence[str], counts: Mapping[str, Sequence[int]]) -> go.Figure:
    """Pictures per class, one bar a class, stacked by split; `counts`: split name -> count per class, in class order.

    Of more than `MOST_BARS` classes, those with the fewest pictures, in class order.
    """
    totals = [sum(column) for column in zip(*counts.values(), strict=True)]
    low, high = min(totals), max(totals)
    title = f"{low} pictures in every class" if low == high else f"{low} to {high} pictures a class"
    shown = sorted(sorted(range(len(classes)), key=totals.__getitem__)[:MOST_BARS])
    if len(shown) < len(classes):
        title += f"; the {len(shown)} smallest of {len(classes):,}"
    # In the figure's own bottom, which makes room for as many lines as a narrow screen needs.
    below = {"traceorder": "normal", "yref": "container", "y": 0, "yanchor": "bottom"}
    figure = titled(title, 130 + 26 * len(shown), barmode="stack", bargap=0.35, legend=below)
    shades = {"train": TRAINABLE, "val": "#E0B34C", "test": "#5B83A6"}
    for split, values in counts.items():
        figure.add_bar(
            y=list(range(len(shown))),
            x=[values[place] for place in shown],
            name=SPLIT_WORDS[split],
            orientation="h",
            marker={"color": shades[split], "line": {"width": 0}},
            hovertemplate="%{x} " + SPLIT_WORDS[split] + "<extra></extra>",
        )
    figure.update_yaxes(
        tickvals=list(range(len(shown))),
        ticktext=[label(classes[place]) for place in shown],
        autorange="reversed",
        showgrid=False,
    )
    figure.update_xaxes(showgrid=True, rangemode="tozero")
    return figure


def picture_sizes(shorter_sides: Sequence[float], *, seen: int) -> go.Figure:
    """How many pictures are how large: the shorter side in pixels, in classes that double; `seen`: the side that a network is given."""
    doublings = Counter(math.floor(math.log2(side)) for side in shorter_sides)
    steps = range(min(doublings), max(doublings) + 1)
    smaller = sum(side < seen for side in shorter_sides) / len(shorter_sides)
    title = (
        f"{percent(smaller)} have less than {seen} pixels" if smaller else f"Every picture has {seen} pixels or more"
    )
    figure = titled(title, 240)
    figure.add_bar(
        x=[f"{2**step:,} to {2 ** (step + 1) - 1:,}" for step in steps],
        y=[doublings[step] for step in steps],
        marker={"color": [MUTED if 2 ** (step + 1) <= seen else TRAINABLE for step in steps], "line": {"width": 0}},
        hovertemplate="%{y} pictures: %{x} pixels<extra></extra>",
    )
    figure.update_xaxes(title=f"shorter side, pixels (a network is given {seen})", showgrid=False, type="category")
    figure.update_yaxes(title="pictures", rangemode="tozero")
    return figure


def learning_curve(
    epochs: Sequence[float],
    train: Sequence[float | None],
    val: Sequence[float],
    *,
    what: str,
    title: str,
    unit: str = "",
    planned: int | None = None,
) -> go.Figure:
    """Training and validation values per epoch, `planned` of them; `what` names the value, `unit` is a tick suffix."""
    figure = titled(title, 260)
    lines = (
        ("training pictures (it learns from them)", train, MUTED, "dot", "circle-open"),
        ("validation pictures (to choose by)", val, TRAINABLE, "solid", "circle"),
    )
    for name, values, colour, dash, symbol in lines:
        figure.add_scatter(
            x=list(epochs),
            y=list(values),
            name=name,
            mode="lines+markers",
            line={"color": colour, "dash": dash, "width": 2.5},
            marker={"symbol": symbol, "size": 7},
            cliponaxis=False,  # a loss of 0 is drawn whole
            hovertemplate=f"epoch %{{x}}: {what} %{{y:.3f}}<extra>{name}</extra>",
        )
    figure.update_xaxes(
        title={"text": "epoch", "standoff": 6}, dtick=max(1, (planned or len(epochs)) // 8), tickformat="d"
    )
    if planned:
        figure.update_xaxes(range=[-0.03 * planned, 1.03 * planned])
    if unit == "%":
        seen = [value for value in (*train, *val) if value is not None]
        figure.update_yaxes(tickformat=".0%", range=[max(0.0, min(0.8, *seen) - 0.03) if seen else 0.0, 1.02])
    else:
        figure.update_yaxes(rangemode="tozero")
    return figure


def regularisation_curve(strengths: Sequence[float], train: Sequence[float], val: Sequence[float]) -> go.Figure:
    """Accuracy of the fitted head against the inverse regularisation strength C."""
    best = max(val) if val else 0.0
    title = f"Best so far: {percent(best)} in validation"
    figure = learning_curve(strengths, train, val, what="accuracy", title=title, unit="%")
    figure.update_traces(hovertemplate="C %{x:.2g}: %{y:.1%}<extra></extra>")
    figure.update_xaxes(
        type="log", title={"text": "how freely the head may fit (C)", "standoff": 6}, dtick=1, tickformat="~g"
    )
    return figure


def share(fraction: float) -> str:
    """0.0312 as "3.1 %": two digits, however small."""
    return f"{100 * fraction:.2g}{NARROW}%"


def rate_curve(rates: Sequence[float], losses: Sequence[float], suggested: float, *, title: str) -> go.Figure:
    """Training loss while the learning rate rises, with the suggested rate marked."""
    figure = titled(title, 260, showlegend=False)
    figure.add_scatter(
        x=list(rates),
        y=list(losses),
        mode="lines",
        line={"color": TRAINABLE, "width": 2.5},
        hovertemplate="rate %{x:.1e}: loss %{y:.3f}<extra></extra>",
    )
    figure.add_vline(x=suggested, line={"color": FROZEN, "dash": "dot", "width": 2})
    figure.update_xaxes(
        type="log", title={"text": "learning rate of the head", "standoff": 6}, dtick=1, tickformat=".0e"
    )
    figure.update_yaxes(title={"text": "loss"})
    return figure


def stage_bars(names: Sequence[str], moved: Sequence[float], learned: Sequence[bool], *, title: str) -> go.Figure:
    """How far each stage moved, from stem to last, as a share of the length of its weights; frozen ones hatched."""
    figure = titled(title, 90 + 26 * len(names), showlegend=False, bargap=0.3, margin_r=56)
    figure.add_bar(
        y=list(range(len(names))),
        x=list(moved),
        orientation="h",
        marker={
            "color": [TRAINABLE if learns else FROZEN for learns in learned],
            "pattern": {"shape": ["" if learns else "/" for learns in learned]},
        },
        text=[share(value) if learns else "frozen" for value, learns in zip(moved, learned, strict=True)],
        textposition="outside",
        cliponaxis=False,
        hoverinfo="skip",
    )
    figure.update_yaxes(
        tickvals=list(range(len(names))), ticktext=[label(name) for name in names], autorange="reversed", showgrid=False
    )
    figure.update_xaxes(
        title={"text": "change, share of the weights' own length", "standoff": 6},
        tickformat=".1%",
        rangemode="tozero",
        nticks=5,
    )
    return figure


def error_bars(values: Sequence[float], ranges: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """The error bars of `values` that reach from end to end of `ranges`."""
    return {
        "type": "data",
        "array": [high - value for value, (_, high) in zip(values, ranges, strict=True)],
        "arrayminus": [value - low for value, (low, _) in zip(values, ranges, strict=True)],
    }


def compared(
    names: Sequence[str],
    accuracies: Sequence[float],
    ranges: Sequence[tuple[float, float]],
    notes: Sequence[str],
    *,
    title: str,
) -> go.Figure:
    """Accuracy of several runs as points with their intervals, the best on top; `notes` stand beside each."""
    figure = titled(title, 110 + 40 * len(names), showlegend=False)
    figure.add_scatter(
        y=list(range(len(names))),
        x=list(accuracies),
        mode="markers",
        marker={"color": TRAINABLE, "size": 11},
        error_x={
            **error_bars(accuracies, ranges),
            "color": FROZEN,
            "thickness": 3,
            "width": 0,
        },
        hoverinfo="skip",
    )
    for row, (name, value, note) in enumerate(zip(names, accuracies, notes, strict=True)):
        # Above the bar, so that a phone's width is left to the bars.
        words = ", ".join(filter(None, (f"{label(name, longest=60)}: {percent(value)}", note)))
        figure.add_annotation(
            x=0, xref="paper", xanchor="left", y=row - 0.36, text=words, showarrow=False, font={"size": 12}
        )
    low = min(low for low, _ in ranges)
    figure.update_xaxes(tickformat=".0%", range=[max(0.0, low - 0.03), 1.005], showgrid=True)
    figure.update_yaxes(visible=False, range=[len(names) - 0.5, -0.7])
    return figure


def confusion_matrix(
    classes: Sequence[str], counts: Sequence[Sequence[int]], chosen: tuple[int, int] | None, *, title: str
) -> go.Figure:
    """The matrix of `counts`; rows: true class, columns: predicted class. The cell `chosen` (row, column) gets a frame.

    A heatmap trace does not report clicks, so nearly transparent square markers are drawn over its cells.
    """
    size = len(classes)
    height = max(300, min(640, 120 + 44 * size))
    figure = titled(title, height, showlegend=False, hoverdistance=-1, hovermode="closest", clickmode="event+select")
    shares = [[count / (sum(row) or 1) for count in row] for row in counts]
    for pale, strong, wanted in (("#C9E3D3", "#4FAE77", True), ("#F3DDBD", "#E08A35", False)):
        figure.add_heatmap(
            z=[
                [shares[row][column] if (row == column) is wanted else None for column in range(size)]
                for row in range(size)
            ],
            colorscale=[[0, "rgba(0,0,0,0)"], [1e-6, pale], [1, strong]],
            zmin=0,
            zmax=1,
            showscale=False,
            xgap=2,
            ygap=2,
            hoverinfo="skip",
        )
    cells = [(row, column) for row in range(size) for column in range(size)]
    figure.add_scatter(
        x=[column for _, column in cells],
        y=[row for row, _ in cells],
        mode="markers+text" if size <= _TEXT_UP_TO else "markers",
        text=[f"{counts[row][column]}" if counts[row][column] else "" for row, column in cells],
        marker={
            "symbol": "square",
            "size": max(8, min(40, 420 // size)),
            "color": "rgba(0,0,0,0.004)",
            "line": {"width": 0},
        },
        selected={"marker": {"opacity": 1}},
        unselected={"marker": {"opacity": 1}},
        customdata=[[row, column] for row, column in cells],
        hovertext=[
            f"{counts[row][column]} × {label(classes[row], longest=40)}, called {label(classes[column], longest=40)}"
            for row, column in cells
        ],
        hoverinfo="text",
        textfont={"color": "#14231B", "size": 13},
    )
    if chosen is not None:
        row, column = chosen
        figure.add_shape(
            type="rect",
            x0=column - 0.47,
            x1=column + 0.47,
            y0=row - 0.47,
            y1=row + 0.47,
            line={"width": 2.5, "color": "#7C8A83"},
        )
    ticks: dict[str, Any] = {
        "tickvals": list(range(size)),
        "ticktext": [label(name, longest=14) for name in classes],
        "range": [-0.5, size - 0.5],
        "showgrid": False,
    }
    figure.update_xaxes(
        **ticks, title="what it said", side="bottom", autotickangles=[0, -45, -90], ticklabeloverflow="allow"
    )
    figure.update_yaxes(**(ticks | {"range": [size - 0.5, -0.5]}), title="what it was")
    return figure


def clicked(selection: Any) -> tuple[int, int] | None:
    """The (true class, predicted class) of the cell in a plotly selection; None if nothing is selected."""
    points = selection["selection"]["points"] if selection else []
    cells = [point for point in points if point.get("customdata")]
    if not cells:
        return None
    row, column = cells[0]["customdata"][:2]
    return int(row), int(column)


CLASS_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8A7F00", "#6B7280")
"""Colours of classes in their order, told apart by the colour-blind, too; further classes have them again with another symbol."""
_MOST_NAMED = 24
"""The most classes that the legend names; of more, each dot says its own."""
_SYMBOLS = ("circle", "diamond", "cross", "triangle-up", "square", "x", "star")


@st.cache_resource(max_entries=8, show_spinner=False)
def picture_map(
    _rows: Sequence[int],
    _x: Sequence[float],
    _y: Sequence[float],
    _labels: Sequence[int],
    classes: Sequence[str],
    shown: Sequence[int],
    *,
    title: str,
    drawn: str,
) -> go.Figure:
    """A dot for each picture at `_x`, `_y`, in the colour of its class; each dot has its row of `_rows` as `customdata`.

    `_labels`: the class of each, an index into `classes`. Only those in `shown` are drawn; a class keeps its colour. `drawn` stands for
    the map: comparing its thousands of numbers with those of the figures that are kept would take a tenth of a second.
    Drawn as SVG: a browser without WebGL would show nothing of `scattergl`.
    """
    # `drawn` is part of the cache's key alone.
    figure = titled(title, 520, dragmode="lasso", hovermode="closest", clickmode="event+select", legend_y=-0.02)
    for label_, name in enumerate(classes):
        places = [place for place, one in enumerate(_labels) if one == label_] if label_ in shown else []
        figure.add_scatter(
            x=[_x[place] for place in places],
            y=[_y[place] for place in places],
            name=label(name),
            mode="markers",
            marker={
                "size": 7,
                "opacity": 0.85,
                "color": CLASS_COLOURS[label_ % len(CLASS_COLOURS)],
                "symbol": _SYMBOLS[label_ // len(CLASS_COLOURS) % len(_SYMBOLS)],
            },
            customdata=[[_rows[place]] for place in places],
            hovertemplate=f"{label(name, longest=40)}<extra></extra>",
            showlegend=bool(places) and len(shown) <= _MOST_NAMED,
        )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return figure


def selected_rows(selection: Any) -> list[int]:
    """The rows of the pictures that are selected on a map, each once, in order."""
    points = selection["selection"]["points"] if selection else []
    return sorted({int(point["customdata"][0]) for point in points if point.get("customdata")})


def reliability(
    confidences: Sequence[float],
    accuracies: Sequence[float],
    ranges: Sequence[tuple[float, float]],
    images: Sequence[int],
    before: Sequence[tuple[float, float]],
    *,
    title: str,
) -> go.Figure:
    """Share of right answers against how sure they are, one point with its range for each group of `images` answers.

    `before`: confidence and accuracy of the same answers before scaling. The diagonal is where each probability holds.
    """
    figure = titled(title, 360)
    figure.add_scatter(
        x=[0, 1], y=[0, 1], mode="lines", name="exactly as sure", line={"color": MUTED, "dash": "dot"}, hoverinfo="skip"
    )
    if before:
        figure.add_scatter(
            x=[confidence for confidence, _ in before],
            y=[accuracy for _, accuracy in before],
            name="before scaling",
            mode="lines+markers",
            line={"color": FROZEN, "width": 1.5},
            marker={"symbol": "circle-open", "size": 7},
            cliponaxis=False,
            hovertemplate="said %{x:.0%}, %{y:.0%} right<extra>before scaling</extra>",
        )
    figure.add_scatter(
        x=list(confidences),
        y=list(accuracies),
        name="its answers",
        mode="lines+markers",
        line={"color": TRAINABLE, "width": 2.5},
        marker={"size": 9},
        cliponaxis=False,
        customdata=[[number, *both] for number, both in zip(images, ranges, strict=True)],
        error_y={
            **error_bars(accuracies, ranges),
            "color": TRAINABLE,
            "thickness": 1.5,
            "width": 4,
        },
        hovertemplate="%{customdata[0]} pictures: said %{x:.0%}, %{y:.0%} right "
        "(%{customdata[1]:.0%} to %{customdata[2]:.0%})<extra></extra>",
    )
    low = min((*confidences, *(low for low, _ in ranges), *(min(pair) for pair in before)), default=0.0)
    ends = [max(0.0, low - 0.04), 1.02]
    figure.update_xaxes(title={"text": "how sure it is", "standoff": 6}, tickformat=".0%", range=ends, showgrid=True)
    figure.update_yaxes(title={"text": "how often it is right"}, tickformat=".0%", range=ends)
    return figure
