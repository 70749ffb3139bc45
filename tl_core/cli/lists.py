"""`samples`, `backbones`, `strategies`: what there is to choose from."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from tl_core.cli import show

Json = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else, on standard output.")]


def samples(*, json: Json = False) -> None:
    """List the built-in samples."""
    from tl_core.data.samples import listing

    found = listing()
    if json:
        show.as_json([sample.model_dump(mode="json") for sample in found])
        return
    show.table(
        ["name", "what", "classes", "pictures", "licence", "where"],
        [
            [
                f"sample:{sample.name}",
                sample.title,
                str(sample.classes),
                f"{sample.images:,}",
                sample.licence,
                "here now" if sample.here else sample.how,
            ]
            for sample in found
        ],
    )


def backbones(*, json: Json = False) -> None:
    """List the pretrained networks, and which weights are here."""
    from tl_core.models.registry import networks
    from tl_core.models.weights import available, describe

    rows = list(networks().values())
    if json:
        show.as_json([backbone_row(row.name) for row in rows])
        return
    show.table(
        ["name", "family", "ImageNet accuracy", "parameters", "input", "weights", "licence"],
        [
            [
                row.name,
                row.family,
                show.percent(row.weights_row().imagenet_accuracy),
                f"{row.parameters / 1e6:.1f} M",
                f"{row.weights_row().input_size} px",
                describe(row, row.default_weights) if not available(row, row.default_weights) else "here now",
                row.weights_row().licence,
            ]
            for row in rows
        ],
    )


def backbone_row(name: str) -> dict[str, Any]:
    """One network as `backbones --json` prints it; sizes and licence are of its default weights."""
    from tl_core.models.registry import network
    from tl_core.models.weights import available

    row = network(name)
    default = row.weights_row()
    return {
        "name": row.name,
        "family": row.family,
        "source": row.source,
        "head": row.head,
        "stages": list(row.stages),
        "input_size": default.input_size,
        "mean": list(default.mean),
        "std": list(default.std),
        "parameters": row.parameters,
        "weights": [weights.name for weights in row.weights],
        "available": available(row, row.default_weights),
        "licence": default.licence,
    }


def strategies(*, json: Json = False) -> None:
    """List the ways to train."""
    from tl_core.training.strategies import strategies as table

    rows = list(table().values())
    if json:
        show.as_json([{"name": row.name, "description": row.description} for row in rows])
        return
    show.table(["name", "what"], [[row.name, row.description] for row in rows])
