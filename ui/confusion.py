"""Draws the confusion matrix as a plotly figure whose cells can be clicked.

A heatmap trace does not report clicks, so nearly transparent square markers are drawn over its cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from ui.words import label

_TEXT_UP_TO = 24
"""The most classes with which a number fits into its cell."""


def confusion_matrix(
    classes: Sequence[str], counts: Sequence[Sequence[int]], chosen: tuple[int, int] | None, *, title: str
) -> go.Figure:
    """The matrix of `counts`; rows: true class, columns: predicted class. The cell `chosen` (row, column) gets a frame."""
    size = len(classes)
    figure = go.Figure()
    figure.update_layout(
        template="graft",
        title={"text": title},
        height=max(300, min(640, 120 + 44 * size)),
        showlegend=False,
        hoverdistance=-1,
        hovermode="closest",
        clickmode="event+select",
        margin={"l": 8, "r": 8, "t": 48, "b": 8},
    )
    shares = [[_share(row, column, counts) for column in range(size)] for row in range(size)]
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


def _share(row: int, column: int, counts: Sequence[Sequence[int]]) -> float:
    total = sum(counts[row])
    return counts[row][column] / total if total else 0.0
