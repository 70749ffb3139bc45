"""Plots for the documents, as SVG that is the same for the same figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update(
    {"svg.hashsalt": "graft", "svg.fonttype": "none", "axes.spines.top": False, "axes.spines.right": False}
)

from matplotlib import pyplot as plt  # noqa: E402

OURS, OTHERS = "#3f8f5b", "#8a9bab"


def bars(
    path: Path,
    names: Sequence[str],
    values: Sequence[float],
    *,
    title: str,
    unit: str,
    logarithmic: bool = False,
    wanted: float | None = None,
    digits: int = 1,
) -> Path:
    """Horizontal bars, one a name; Graft's in its own colour, and a line at what is `wanted` at most."""
    figure, axes = plt.subplots(figsize=(8, 0.45 * len(names) + 1), layout="constrained")
    colours = [OURS if name.startswith("Graft") else OTHERS for name in names]
    drawn = axes.barh(names, values, color=colours)
    axes.bar_label(drawn, fmt=f"%.{digits}f", padding=3)
    axes.invert_yaxis()
    if logarithmic:
        axes.set_xscale("log")
    else:
        axes.set_xlim(0, 1.15 * max(*values, wanted or 0.0))
    if wanted is not None:
        axes.axvline(wanted, color="#b4690e", linestyle="--")
        axes.annotate(
            f"{wanted:g} wanted",
            (wanted, 1.0),
            xycoords=("data", "axes fraction"),
            ha="right",
            va="bottom",
            color="#b4690e",
        )
    axes.set_xlabel(unit)
    axes.set_title(title, loc="left")
    return _save(path, figure)


def lines(path: Path, places: Sequence[int], series: Mapping[str, Sequence[float]], *, title: str) -> Path:
    """One panel a series over the number of pictures; what grows less than tenfold is drawn from zero."""
    figure, panels = plt.subplots(1, len(series), figsize=(4.2 * len(series), 3), layout="constrained", squeeze=False)
    for axes, (name, values) in zip(panels[0], series.items(), strict=True):
        axes.plot(places, values, marker="o", color=OURS)
        axes.set_xscale("log")
        if max(values) > 10 * min(values):
            axes.set_yscale("log")
        else:
            axes.set_ylim(0, 1.15 * max(values))
        axes.set_xlabel("pictures")
        axes.set_ylabel(name)
    figure.suptitle(title, x=0.02, ha="left")
    return _save(path, figure)


def _save(path: Path, figure: plt.Figure) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
    return path
