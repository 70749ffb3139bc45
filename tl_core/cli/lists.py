"""The commands `samples`, `backbones` and `strategies`, which list what there is to choose from."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tl_core.cli import show
from tl_core.cli.parameters import Json

if TYPE_CHECKING:
    from tl_core.models.registry import Network, WeightsRow

Here = Annotated[bool, typer.Option("--here", help="Only what is on this machine now.")]


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
    """Orders of the table of backbones."""

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
    from tl_core.models.weights.obtain import available, here_now_sentence, where
    from tl_core.runs.store.store import Store

    found = [
        network
        for network in Store.default().command_line_backbones().values()
        if not here or any(available(network, known.name) for known in network.weights)
    ]
    seen = list(dict.fromkeys(network.family for network in found))
    keys: dict[Order, Callable[[Network], Any]] = {
        Order.family: lambda network: seen.index(network.family),
        Order.accuracy: lambda network: -(network.weights_row().imagenet_accuracy or 0.0),
        Order.parameters: lambda network: network.parameters,
        Order.name: lambda network: network.name,
    }
    found.sort(key=keys[sort])
    if json:
        show.as_json([backbone_row(network) for network in found])
        return
    show.table(
        ["name", "family", "ImageNet accuracy", "parameters", "image sizes", "weights", "licence"],
        [
            [
                network.name,
                network.family,
                show.percent(default.imagenet_accuracy) if default.imagenet_accuracy is not None else "-",
                f"{network.parameters / 1e6:.1f} M",
                f"{default.input_size} px; {image_sizes(network)['text']}",
                f"here: {place}" if (place := where(network)) else _elsewhere(network),
                default.licence,
            ]
            for network in found
            for default in [network.weights_row()]
        ],
    )
    show.line(here_now_sentence())


def backbone_row(network: Network) -> dict[str, Any]:
    """One network as `backbones --json` prints it; size, mean, std, interpolation and licence are those of its default weights."""
    from tl_core.models.weights.obtain import available

    default = network.weights_row()
    return {
        "name": network.name,
        "family": network.family,
        "source": network.source,
        "head": network.head,
        "stages": list(network.stages),
        "stage_parameters": list(network.stage_parameters),
        "parameters": network.parameters,
        "gflops": network.gflops,
        "embedding_size": network.embedding_size,
        "input_size": default.input_size,
        "mean": list(default.mean),
        "std": list(default.std),
        "interpolation": default.interpolation,
        "image_sizes": image_sizes(network),
        "weights": [weights_row(network, known) for known in network.weights],
        "default_weights": network.default_weights,
        "available": available(network),
        "licence": default.licence,
    }


def weights_row(network: Network, known: WeightsRow) -> dict[str, Any]:
    """The set of weights `known` of `network` as JSON; the accuracy is null where the weights have no classifier, or none is published."""
    from tl_core.models.weights.obtain import availability, where

    place = where(network, known.name)
    return {
        "name": known.name,
        "trained_on": known.trained_on,
        "imagenet_accuracy": known.imagenet_accuracy,
        "input_size": known.input_size,
        "licence": known.licence,
        "download_bytes": known.download_bytes,
        "from": known.url or f"package {known.package}",
        "available": place is not None,
        "where": place or availability(network, known.name),
    }


def image_sizes(network: Network) -> dict[str, Any]:
    """Which image sizes the network takes, in numbers and in words; `sizes` are those of its weights, and if `fixed` the only ones."""
    sizes = sorted({known.input_size for known in network.weights})
    if network.fixed_size:
        text = f"only {' or '.join(map(str, sizes))}"
    else:
        text = f"{network.smallest_size} or more" + (
            f", multiples of {network.size_step}" if network.size_step > 1 else ""
        )
    return {
        "fixed": network.fixed_size,
        "sizes": sizes,
        "smallest": sizes[0] if network.fixed_size else network.smallest_size,
        "multiple_of": network.size_step,
        "text": text,
    }


def _elsewhere(network: Network) -> str:
    """What a network needs whose default weights are not here, and which other sets of its weights are here."""
    from tl_core.models.weights.obtain import availability, available

    others = [known.name for known in network.weights if available(network, known.name)]
    return availability(network) + (f" (here: {', '.join(others)})" if others else "")


def strategies(*, json: Json = False) -> None:
    """List the ways to train."""
    from tl_core.training.strategies.strategies import strategies as table

    rows = list(table().values())
    if json:
        show.as_json(
            [
                {**vars(each), "parameters": each.parameters.name, "recipe": each.recipe.model_dump(mode="json")}
                for each in rows
            ]
        )
        return
    show.table(["name", "what"], [[each.name, each.description] for each in rows])
    show.line("auto: one of them, by how many pictures there are and how like they are to what the backbone knows.")
