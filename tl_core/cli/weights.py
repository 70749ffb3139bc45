"""The commands `weights list` and `weights fetch`: which pretrained weights are here, and others downloaded beforehand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tl_core.cli import show
from tl_core.cli.lists import Here, weights_row
from tl_core.cli.parameters import Json
from tl_core.errors import Cancelled, GraftError, ModelError, SpecError, UnknownName

if TYPE_CHECKING:
    from tl_core.models.registry import Network

app = typer.Typer(name="weights", help="Pretrained weights: which are here, and bring others.", no_args_is_help=True)


@app.command("list")
def listing(*, here: Here = False, json: Json = False) -> None:
    """List every set of weights, and where it is."""
    from tl_core.models.weights.obtain import here_now_sentence
    from tl_core.runs.store.store import Store

    rows = [
        {"network": network.name, **weights_row(network, known)}
        for network in Store.default().command_line_backbones().values()
        for known in network.weights
    ]
    if here:
        rows = [row for row in rows if row["available"]]
    if json:
        show.as_json(rows)
        return
    show.table(
        ["weights", "trained on", "ImageNet accuracy", "input", "where", "licence"],
        [
            [
                f"{row['network']}:{row['name']}",
                row["trained_on"],
                show.percent(row["imagenet_accuracy"]) if row["imagenet_accuracy"] is not None else "-",
                f"{row['input_size']} px",
                f"here: {row['where']}" if row["available"] else row["where"],
                row["licence"],
            ]
            for row in rows
        ],
    )
    show.line(here_now_sentence())


@app.command()
def fetch(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME...", help="Backbones, also any of timm's, or NAME:WEIGHTS for a set that is not the default."
        ),
    ],
    *,
    json: Json = False,
) -> None:
    """Bring weights to this machine; goes on after one that fails."""
    from tl_core.models.weights.obtain import fetch as fetching
    from tl_core.models.weights.obtain import where

    rows: list[dict[str, Any]] = []
    with show.Bars() as bars:
        for network, weights in _wanted(names, bars):
            row: dict[str, Any] = {"network": network.name, "weights": weights}
            try:
                path = bars.run(fetching(network, weights))
            except Cancelled:
                raise
            except GraftError as error:
                rows.append(row | {"error": {"kind": error.kind, "message": error.message}})
            else:
                rows.append(row | {"where": where(network, weights), "file": str(path)})
    failed = [row for row in rows if "error" in row]
    if json:
        show.as_json(rows)
    else:
        for row in rows:
            name = f"{row['network']}:{row['weights']}"
            show.line(
                f"{name}: {row['error']['message']}" if "error" in row else f"{name}: {row['where']}, {row['file']}"
            )
    if failed:
        missing = ", ".join(f"{row['network']}:{row['weights']}" for row in failed)
        show.aside(f"{len(failed)} of {len(rows)} could not be fetched: {missing}.")
        raise typer.Exit(GraftError.exit_code)


def _wanted(names: list[str], bars: show.Bars) -> list[tuple[Network, str]]:
    """Networks and their sets of weights, each once. Networks of timm that are in no table are looked up, which needs torch.

    Raises:
        SpecError: unknown names, all of them at once; nothing has been fetched then.
    """
    from tl_core.models.registry import network

    found: dict[tuple[str, str], Network] = {}
    problems = []
    for text in names:
        name, _, weights = text.partition(":")
        try:
            try:
                backbone = network(name)
            except UnknownName:
                from tl_core.models.metadata.timm_network import describe_network

                backbone = bars.run(describe_network(name))
            found[name, backbone.weights_row(weights or None).name] = backbone
        except (SpecError, ModelError) as error:
            problems.append(error.message)
    if problems:
        raise SpecError.of(problems)
    return [(backbone, weights) for (_, weights), backbone in found.items()]
