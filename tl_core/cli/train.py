"""The commands that train: `train`, `race` (several runs on one split), `resume` and `train-on`, what they print in the end, and how a
command finds a run in any state."""

import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from tl_core import api
from tl_core.cli import parameters, printing
from tl_core.documents.options import OPTIONS
from tl_core.errors import GraftError, SpecError
from tl_core.runs.store.folders import RunFolder
from tl_core.runs.store.store import Store
from tl_core.serving.bundle_files import FOLDER

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="The run folder; it must be empty or not there yet.")]
_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}
_STATES = {"done": "", "not_begun": "not begun"}
"""Words for states, where they are not those of the leaderboard."""


@parameters.with_options(*OPTIONS)
def train(
    data: parameters.Data,
    *,
    classes: parameters.Classes = "first",
    groups: parameters.Groups = None,
    out: Out = None,
    workspace: parameters.Workspace = None,
    json: parameters.Json = False,
    **asked: Any,
) -> None:
    """Train a classifier on DATA, measure it on pictures it has not seen, and write its bundle.

    Each strategy has values of its own for all options below from --optimizer on, and for --epochs.
    """
    with printing.Bars() as bars:
        result = api.train(data, **asked, classes=classes, groups=groups, out=out, workspace=workspace, on_event=bars)  # type: ignore[arg-type]
    printing.answer(result, tell, json=json)
    if not json:
        tell_strategy(result)


def tell_strategy(result: dict[str, Any]) -> None:
    """Why this strategy was taken, where the user did not choose it, and how long a longer one would take."""
    from tl_core.runs.train.plan import estimated_with
    from tl_core.training.strategies.advice import default_strategy
    from tl_core.training.strategies.strategies import Setup

    if result["chosen_by"] == "user":
        return
    printing.line(f"Strategy: {result['strategy']}. {result['reason'] or ''}".rstrip())
    choice = default_strategy(result["device"], result["train_images"])
    if result["chosen_by"] == "default" and result["strategy"] == choice.name:
        # The run has ended well. Its data set may be gone, or its device may be that of another machine.
        with suppress(GraftError):
            spec = RunFolder(Path(result["run_dir"])).spec()
            dataset = Store.default().workspace(spec.workspace).dataset(spec.dataset, spec.version)
            time = estimated_with(Setup.of(spec), choice.longer, dataset)
            printing.line(f"{choice.longer_reason} --strategy {choice.longer} would take {time}.")


def tell(result: dict[str, Any]) -> None:
    """The result of a run in words."""
    from tl_core.statements import Source, statements

    run = RunFolder(Path(result["run_dir"]))
    for statement in statements(Source(report=run.report(), spec=run.spec()), "result"):
        printing.line(statement.sentences)
    if result["refused_files"]:
        printing.line(f"Files that were refused: {result['refused_files']:,}; `check --json` names them.")
    device = result["gpu"] or result["device"]
    printing.line(f"Time: {result['seconds']['total']:.1f} s on {device}, {result['peak_memory_mb']:,.0f} MB.")
    printing.line(f"Run: {result['run_dir']}")
    printing.line(f"Bundle: {Path(result['run_dir']) / FOLDER}")


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
    workspace: parameters.Workspace = None,
    json: parameters.Json = False,
    **asked: Any,
) -> None:
    """Train several classifiers on one split of DATA within a time budget, and say how they stand.

    The one that is expected to take the least time comes first. One that cannot win any more is stopped; when the time is up, the one at
    work ends with its best state. Each strategy has values of its own for all options below from --optimizer on, and for --epochs.
    """
    with printing.Bars() as bars:
        result = api.race(
            data,
            **asked,
            strategies=parameters.names(strategies, "strategies"),
            backbones=parameters.names(backbones, "backbones"),
            budget=seconds(budget),
            classes=classes,
            groups=groups,
            workspace=workspace,
            on_event=bars,
        )
    printing.answer(result, _leaderboard, json=json)


def seconds(text: str) -> float:
    """A time such as `90s`, `10m`, `1.5h` or `90`, in seconds. Raises SpecError."""
    parts = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|)\s*", text)
    if parts is None:
        raise SpecError(f"The budget {text!r} is no time. Give one such as 90s, 10m or 1h.")
    return float(parts[1]) * _UNITS[parts[2]]


def _leaderboard(result: dict[str, Any]) -> None:
    """The leaderboard of a race that has ended, as a table and in words."""
    rows = result["rows"]
    printing.table(
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
            printing.line(f"{row['strategy']} on {row['backbone']}: {row['reason']}")
    printing.line(
        f"Ordered by the {result['val_images']:,} validation pictures, which chose. The {result['test_images']:,} test pictures judge."
    )
    called = {row["run_dir"]: f"{row['strategy']} on {row['backbone']}" for row in rows}
    for against in result["first_against"]:
        printing.line(f"{called[rows[0]['run_dir']]} against {called[against['run_dir']]}: {against['said']}.")
    printing.line(f"Time: {result['spent']:.0f} s of {result['budget']:.0f} s.")
    printing.line(f"Race: {result['race_dir']}")
    for row in rows:
        if row["state"] == "done":
            printing.line(f"Run of {row['strategy']} on {row['backbone']}: {row['run_dir']}")


def _figure(fraction: float | None, interval: list[float] | None) -> tuple[str, str]:
    if fraction is None or interval is None:
        return "-", "-"
    return printing.percent(fraction), f"{printing.percent(interval[0])} to {printing.percent(interval[1])}"


def resume(
    run: Run,
    *,
    from_start: Annotated[
        bool,
        typer.Option("--from-start", help="Begin the run again instead, with the same pictures, split and options."),
    ] = False,
    json: parameters.Json = False,
) -> None:
    """Go on with a run that was killed, cancelled or failed, from its last checkpoint.

    It prints what `train` prints.
    """
    from tl_core.runs.start import jobs

    folder = parameters.opened(run)
    _, offset = folder.events()
    jobs.go_on(folder, "nothing" if from_start else "checkpoint")
    _wait(folder, offset, json=json)


def train_on(
    run: Run,
    *,
    epochs: Annotated[int, typer.Option(metavar="N", help="How many more passes over the training pictures.")],
    out: Out = None,
    json: parameters.Json = False,
) -> None:
    """Train N more epochs from what a run delivered, as a run of its own with the same pictures and options.

    It never ends with a larger validation loss than RUN. It prints what `train` prints.
    """
    from tl_core.runs.start import jobs

    _wait(jobs.train_on(parameters.opened(run), epochs=epochs, out=out), 0, json=json)


def _wait(run: RunFolder, offset: int, *, json: bool) -> None:
    """Show what `run` says from byte `offset` of its events on, and then what it came to."""
    from tl_core.runs.finished import summarise
    from tl_core.runs.start import jobs

    with printing.Bars() as bars:
        jobs.wait(run, bars, offset=offset)
    printing.answer(summarise(run).model_dump(mode="json"), tell, json=json)
