"""The command `race`: several runs on one split within a time budget, and their leaderboard."""

import re
from typing import Annotated, Any

import typer

from tl_core import api
from tl_core.cli import parameters, show
from tl_core.documents.options import OPTIONS
from tl_core.errors import SpecError

_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}
_STATES = {"done": "", "not_begun": "not begun"}
"""Words for states, where they are not those of the leaderboard."""


@parameters.with_options(*(name for name in OPTIONS if name not in ("backbone", "strategy")))
def race(
    data: parameters.Data,
    *,
    strategies: Annotated[
        str | None,
        typer.Option(
            "--strategies",
            metavar="A,B",
            help="Those to compare. Without them: with several backbones the strategy that train takes, else five that differ most.",
        ),
    ] = None,
    backbones: Annotated[
        str | None,
        typer.Option(
            "--backbones",
            metavar="X,Y",
            help="Those to compare, each with every strategy; the default one unless said.",
        ),
    ] = None,
    budget: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Time for all runs, such as 90s, 10m or 1h, from the moment on when the pictures are read and the device is free.",
        ),
    ] = "10m",
    classes: parameters.Classes = "first",
    groups: parameters.Groups = None,
    workspace: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN|@FILE", help="The workspace of the app in which race and runs are to be seen; as for train."
        ),
    ] = None,
    json: parameters.Json = False,
    **asked: Any,
) -> None:
    """Train several classifiers on one split of DATA within a time budget, and say how they stand.

    The one that is expected to take the least time comes first. One that cannot win any more is stopped; when the time is up, the one at
    work ends with its best state. Each strategy has values of its own for all options below from --optimizer on, and for --epochs.
    """
    token = None if workspace is None else parameters.token(workspace)
    with show.Bars() as bars:
        result = api.race(
            data,
            **asked,
            strategies=_names(strategies, "strategies"),
            backbones=_names(backbones, "backbones"),
            budget=seconds(budget),
            classes=classes,
            groups=groups,
            workspace=token,
            on_event=bars,
        )
    if json:
        show.as_json(result)
        return
    tell(result)


def seconds(given: str) -> float:
    """A time such as `90s`, `10m`, `1.5h` or `90`, in seconds. Raises SpecError."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|)\s*", given)
    if found is None:
        raise SpecError(f"The budget {given!r} is no time. Give one such as 90s, 10m or 1h.")
    return float(found[1]) * _UNITS[found[2]]


def tell(result: dict[str, Any]) -> None:
    """The leaderboard of a race that has ended, as a table and in words."""
    rows = result["rows"]
    show.table(
        ["strategy", "backbone", "validation", "95 %", "test", "95 %", "epochs", "seconds", ""],
        [
            [
                row["strategy"],
                row["backbone"],
                *_figure(row["val_accuracy"], row["val_interval"]),
                *_figure(row["test_accuracy"], row["test_interval"]),
                "-" if row["epochs"] is None else f"{row['epochs']} of {row['planned_epochs']}",
                "-" if row["seconds"] is None else f"{row['seconds']:.0f}",
                _STATES.get(row["state"], row["state"]),
            ]
            for row in rows
        ],
    )
    for row in rows:
        if row["reason"]:
            show.line(f"{row['strategy']} on {row['backbone']}: {row['reason']}")
    show.line(
        f"Ordered by the {result['val_images']:,} validation pictures, which chose. The {result['test_images']:,} test pictures judge."
    )
    called = {row["run_dir"]: f"{row['strategy']} on {row['backbone']}" for row in rows}
    for against in result["first_against"]:
        show.line(f"{called[rows[0]['run_dir']]} against {called[against['run_dir']]}: {against['said']}.")
    show.line(f"Time: {result['spent']:.0f} s of {result['budget']:.0f} s.")
    show.line(f"Race: {result['race_dir']}")
    for row in rows:
        if row["state"] == "done":
            show.line(f"Run of {row['strategy']} on {row['backbone']}: {row['run_dir']}")


def _figure(fraction: float | None, interval: list[float] | None) -> tuple[str, str]:
    if fraction is None or interval is None:
        return "-", "-"
    return show.percent(fraction), f"{show.percent(interval[0])} to {show.percent(interval[1])}"


def _names(given: str | None, what: str) -> tuple[str, ...]:
    """The names in a list with commas. Raises SpecError where it has none."""
    names = tuple(filter(None, (name.strip() for name in (given or "").split(","))))
    if given is not None and not names:
        raise SpecError(f"Name at least one of the {what}, or leave --{what} out.")
    return names
