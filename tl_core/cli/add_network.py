"""`describe`: adds a network of timm to the backbones."""

from __future__ import annotations

from typing import Annotated

import typer

from tl_core.cli import show
from tl_core.cli.parameters import Json


def describe(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="timm's name, with or without the weights: resnet26t.ra2_in1k.")
    ],
    *,
    json: Json = False,
) -> None:
    """Add a network of timm to the backbones, by its name."""
    from tl_core.cli.lists import backbone_row
    from tl_core.runs.store.store import Store
    from tl_core.runs.tasks.ask import described

    with show.Bars() as bars:
        network = described(name, Store.default().command_line_workspace(), bars)
    if json:
        show.as_json(backbone_row(network))
        return
    weights = network.weights_row()
    show.line(
        f"{network.name}: {network.parameters / 1e6:.1f} M parameters in {len(network.stages)} stages, {weights.input_size} px."
    )
    show.line(f"Its stages: {', '.join(network.stages)}. Licence of its weights: {weights.licence}")
    show.line(f"Use it: train DATA --backbone {network.name}")
