"""The command `resume`, which goes on with a run that was stopped before its end."""

from __future__ import annotations

from typing import Annotated

import typer

from tl_core.cli import show
from tl_core.cli.parameters import Json
from tl_core.cli.train import tell
from tl_core.errors import NotFound

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
    from tl_core.data.sources import path_of
    from tl_core.runs.start import jobs
    from tl_core.runs.store.folders import RunFolder
    from tl_core.runs.summary import summarise

    folder = RunFolder(path_of(run).expanduser().absolute())
    if not folder.exists:
        raise NotFound(f"There is no run in {folder}. Name the folder of a run.")
    _, said = folder.events()
    jobs.resume(folder, from_start=from_start)
    with show.Bars() as bars:
        jobs.finish(folder, bars, offset=said)
    result = summarise(folder).model_dump(mode="json")
    if json:
        show.as_json(result)
    else:
        tell(result)
