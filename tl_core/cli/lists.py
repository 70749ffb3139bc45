"""`samples`, `backbones`, `strategies`: what there is to choose from."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tl_core.cli import show

if TYPE_CHECKING:
    from tl_core.models.registry import Network, WeightsRow

Here = Annotated[bool, typer.Option("--here", help="Only what is on this machine now.")]
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


class Order(StrEnum):
    """What the table of backbones is sorted by."""

    family = "family"
    accuracy = "accuracy"
    parameters = "parameters"
    name = "name"


def backbones(
    *,
    here: Here = False,
    sort: Annotated[Order, typer.Option(help="Order of the table; accuracy is of the default weights.")] = Order.family,
    json: Json = False,
) -> None:
    """List the pretrained networks, and which weights are here."""
    from tl_core.models.registry import networks
    from tl_core.models.weights.obtain import available, here_now_sentence, where

    rows = [row for row in networks().values() if not here or any(available(row, known.name) for known in row.weights)]
    if sort is Order.family:
        first_seen = {name: number for number, name in enumerate(dict.fromkeys(row.family for row in rows))}
        rows.sort(key=lambda row: first_seen[row.family])
    elif sort is Order.accuracy:
        rows.sort(key=lambda row: row.weights_row().imagenet_accuracy or 0.0, reverse=True)
    elif sort is Order.parameters:
        rows.sort(key=lambda row: row.parameters)
    else:
        rows.sort(key=lambda row: row.name)
    if json:
        show.as_json([backbone_row(row) for row in rows])
        return
    show.table(
        ["name", "family", "ImageNet accuracy", "parameters", "image sizes", "weights", "licence"],
        [
            [
                row.name,
                row.family,
                show.percent(default.imagenet_accuracy) if default.imagenet_accuracy is not None else "-",
                f"{row.parameters / 1e6:.1f} M",
                f"{default.input_size} px; {image_sizes(row)['text']}",
                f"here: {place}" if (place := where(row)) else _elsewhere(row),
                default.licence,
            ]
            for row in rows
            for default in [row.weights_row()]
        ],
    )
    show.line(here_now_sentence())


def backbone_row(row: Network) -> dict[str, Any]:
    """One network as `backbones --json` prints it; sizes, mean, std, interpolation and licence are of its default weights."""
    from tl_core.models.weights.obtain import available

    default = row.weights_row()
    return {
        "name": row.name,
        "family": row.family,
        "source": row.source,
        "head": row.head,
        "stages": list(row.stages),
        "stage_parameters": list(row.stage_parameters),
        "parameters": row.parameters,
        "gflops": row.gflops,
        "embedding_size": row.embedding_size,
        "input_size": default.input_size,
        "mean": list(default.mean),
        "std": list(default.std),
        "interpolation": default.interpolation,
        "image_sizes": image_sizes(row),
        "weights": [weights_row(row, known) for known in row.weights],
        "default_weights": row.default_weights,
        "available": available(row),
        "licence": default.licence,
    }


def weights_row(row: Network, known: WeightsRow) -> dict[str, Any]:
    """One set of weights of `row` as JSON; accuracy is null where it was never a classifier, or timm does not say."""
    from tl_core.models.weights.obtain import describe, where

    place = where(row, known.name)
    return {
        "name": known.name,
        "trained_on": known.trained_on,
        "imagenet_accuracy": known.imagenet_accuracy,
        "input_size": known.input_size,
        "licence": known.licence,
        "download_bytes": known.download_bytes,
        "from": known.url or f"package {known.package}",
        "available": place is not None,
        "where": place or describe(row, known.name),
    }


def image_sizes(row: Network) -> dict[str, Any]:
    """Which image sizes the network takes, in numbers and in words; `sizes` are those of its weights, with `fixed` the only ones."""
    sizes = sorted({known.input_size for known in row.weights})
    if row.fixed_size:
        text = f"only {' or '.join(map(str, sizes))}"
    else:
        text = f"{row.smallest_size} or more" + (f", multiples of {row.size_step}" if row.size_step > 1 else "")
    return {
        "fixed": row.fixed_size,
        "sizes": sizes,
        "smallest": sizes[0] if row.fixed_size else row.smallest_size,
        "multiple_of": row.size_step,
        "text": text,
    }


def _elsewhere(row: Network) -> str:
    """Of a network whose default weights are not here: what it needs, and which others are here."""
    from tl_core.models.weights.obtain import available, describe

    others = [known.name for known in row.weights if available(row, known.name)]
    return describe(row) + (f" (here: {', '.join(others)})" if others else "")


def strategies(*, json: Json = False) -> None:
    """List the ways to train."""
    from tl_core.training.strategies.strategies import strategies as table

    rows = list(table().values())
    if json:
        show.as_json([{**vars(row), "recipe": row.recipe.model_dump(mode="json")} for row in rows])
        return
    show.table(["name", "what"], [[row.name, row.description] for row in rows])
    show.line("auto: one of them, by how many pictures there are and how like they are to what the backbone knows.")
