"""The command `train`, and what it prints when the run has ended."""

from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from tl_core import api
from tl_core.cli import parameters, show
from tl_core.documents.options import OPTIONS
from tl_core.errors import GraftError
from tl_core.serving.bundle_files import FOLDER


@parameters.with_options(*OPTIONS)
def train(
    data: parameters.Data,
    *,
    classes: parameters.Classes = "first",
    groups: parameters.Groups = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The run folder; it must be empty or not there yet.")
    ] = None,
    workspace: Annotated[
        str | None,
        typer.Option(
            metavar="TOKEN|@FILE",
            help="The workspace of the app in which it is to be seen; @FILE reads the token from a file, since others on this "
            "machine can see what is typed.",
        ),
    ] = None,
    json: parameters.Json = False,
    **asked: Any,
) -> None:
    """Train a classifier on DATA, measure it on pictures it has not seen, and write its bundle.

    Each strategy has values of its own for all options below from --optimizer on, and for --epochs.
    """
    token = None if workspace is None else parameters.token(workspace)
    with show.Bars() as bars:
        result = api.train(data, **asked, classes=classes, groups=groups, out=out, workspace=token, on_event=bars)  # type: ignore[arg-type]
    if json:
        show.as_json(result)
        return
    tell(result)
    tell_strategy(result)


def tell_strategy(result: dict[str, Any]) -> None:
    """Why this strategy was taken, where the user did not choose it, and how long a longer one would take."""
    from tl_core.runs.store.folders import RunFolder
    from tl_core.runs.store.store import Store
    from tl_core.runs.train.resolve import estimated_with
    from tl_core.training.strategies.advice import default_strategy
    from tl_core.training.strategies.setup import Setup

    if result["chosen_by"] == "user":
        return
    show.line(f"Strategy: {result['strategy']}. {result['reason'] or ''}".rstrip())
    choice = default_strategy(result["device"], result["train_images"])
    if result["chosen_by"] == "default" and result["strategy"] == choice.name:
        # The run has ended well. Its data set may be gone, or its device may be that of another machine.
        with suppress(GraftError):
            spec = RunFolder(Path(result["run_dir"])).spec()
            dataset = Store.default().workspace(spec.workspace).dataset(spec.dataset, spec.version)
            time = estimated_with(Setup.of(spec), choice.longer, dataset)
            show.line(f"{choice.longer_reason} --strategy {choice.longer} would take {time}.")


def tell(result: dict[str, Any]) -> None:
    """The result of a run in words."""
    from tl_core.runs.store.folders import RunFolder
    from tl_core.statements import Source, statements

    run = RunFolder(Path(result["run_dir"]))
    for one in statements(Source(report=run.report(), spec=run.spec()), "result"):
        show.line(one.sentences)
    if result["refused_files"]:
        show.line(f"Files that were refused: {result['refused_files']:,}; `check --json` names them.")
    device = result["gpu"] or result["device"]
    show.line(f"Time: {result['seconds']['total']:.1f} s on {device}, {result['peak_memory_mb']:,.0f} MB.")
    show.line(f"Run: {result['run_dir']}")
    show.line(f"Bundle: {Path(result['run_dir']) / FOLDER}")
