"""The commands `resume`, which goes on with a run that was stopped before its end, and `train-on`, which trains more epochs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tl_core.cli import show
from tl_core.cli.parameters import Json
from tl_core.cli.train import tell
from tl_core.errors import NotFound

if TYPE_CHECKING:
    from tl_core.runs.store.folders import RunFolder

Run = Annotated[str, typer.Argument(metavar="RUN", help="A run folder.")]


def resume(
    run: Run,
    *,
    from_start: Annotated[
        bool,
        typer.Option("--from-start", help="Begin the run again instead, with the same pictures, split and options."),
    ] = False,
    json: Json = False,
) -> None:
    """Go on with a run that was killed, cancelled or failed, from its last checkpoint.

    It prints what `train` prints.
    """
    from tl_core.runs.start import jobs

    folder = _folder(run)
    _, said = folder.events()
    jobs.go_on(folder, "nothing" if from_start else "checkpoint")
    _wait(folder, said, json=json)


def train_on(
    run: Run,
    *,
    epochs: Annotated[int, typer.Option(metavar="N", help="How many more passes over the training pictures.")],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run folder; it must be empty or not there yet.")
    ] = None,
    json: Json = False,
) -> None:
    """Train N more epochs from what a run delivered, as a run of its own with the same pictures and options.

    It never ends with a larger validation loss than RUN. It prints what `train` prints.
    """
    from tl_core.runs.start import jobs

    new = jobs.train_on(_folder(run), epochs=epochs, out=out)
    _wait(new, 0, json=json)


def _folder(run: str) -> RunFolder:
    from tl_core.data.sources import path_of
    from tl_core.runs.store.folders import RunFolder

    folder = RunFolder(path_of(run).expanduser().absolute())
    if not folder.exists:
        raise NotFound(f"There is no run in {folder}. Name the folder of a run.")
    return folder


def _wait(run: RunFolder, said: int, *, json: bool) -> None:
    """Show what `run` says from byte `said` of its events on, and then what it came to."""
    from tl_core.runs.finished import summarise
    from tl_core.runs.start import jobs

    with show.Bars() as bars:
        jobs.wait(run, bars, offset=said)
    result = summarise(run).model_dump(mode="json")
    if json:
        show.as_json(result)
    else:
        tell(result)
