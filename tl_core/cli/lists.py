"""The commands that list what there is to choose from (`samples`, `backbones`, `strategies`, `weights list`), and those that bring more:
`weights fetch` and `describe`.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any

import typer

from tl_core.cli import printing
from tl_core.cli.parameters import Json
from tl_core.errors import Cancelled, GraftError, ModelError, SpecError, UnknownName
from tl_core.models.registry import Network, WeightsRow, network
from tl_core.models.weights.obtain import availability, available, here_now_sentence, where
from tl_core.models.weights.obtain import fetch as fetching
from tl_core.runs.store.store import Store

weights_app = typer.Typer(
    name="weights", help="Pretrained weights: which are here, and bring others.", no_args_is_help=True
)
Here = Annotated[bool, typer.Option("--here", help="Only what is on this machine now.")]


def samples(*, json: Json = False) -> None:
    """List the built-in samples."""
    from tl_core.data.samples import listing

    rows = listing()
    if json:
        printing.as_json([sample.model_dump(mode="json") for sample in rows])
        return
    printing.table(
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
            for sample in rows
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
    networks = [
        network
        for network in Store.default().command_line_backbones().values()
        if not here or any(available(network, row.name) for row in network.weights)
    ]
    seen = list(dict.fromkeys(network.family for network in networks))
    keys: dict[Order, Callable[[Network], Any]] = {
        Order.family: lambda network: seen.index(network.family),
        Order.accuracy: lambda network: -(network.weights_row().imagenet_accuracy or 0.0),
        Order.parameters: lambda network: network.parameters,
        Order.name: lambda network: network.name,
    }
    networks.sort(key=keys[sort])
    if json:
        printing.as_json([backbone_row(network) for network in networks])
        return
    printing.table(
        ["name", "family", "ImageNet accuracy", "parameters", "image sizes", "weights", "licence"],
        [
            [
                network.name,
                network.family,
                printing.percent(default.imagenet_accuracy) if default.imagenet_accuracy is not None else "-",
                f"{network.parameters / 1e6:.1f} M",
                f"{default.input_size} px; {image_sizes(network)['text']}",
                f"here: {place}" if (place := where(network)) else _elsewhere(network),
                default.licence,
            ]
            for network in networks
            for default in [network.weights_row()]
        ],
    )
    printing.line(here_now_sentence())


def backbone_row(network: Network) -> dict[str, Any]:
    """One network as `backbones --json` prints it; size, mean, std, interpolation and licence are those of its default weights."""
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
        "weights": [weights_row(network, row) for row in network.weights],
        "default_weights": network.default_weights,
        "available": available(network),
        "licence": default.licence,
    }


def weights_row(network: Network, row: WeightsRow) -> dict[str, Any]:
    """The set of weights `row` of `network` as JSON; the accuracy is null where the weights have no classifier, or none is published."""
    place = where(network, row.name)
    return {
        "name": row.name,
        "trained_on": row.trained_on,
        "imagenet_accuracy": row.imagenet_accuracy,
        "input_size": row.input_size,
        "licence": row.licence,
        "download_bytes": row.download_bytes,
        "from": row.url or f"package {row.package}",
        "available": place is not None,
        "where": place or availability(network, row.name),
    }


def image_sizes(network: Network) -> dict[str, Any]:
    """Which image sizes the network takes, in numbers and in words; `sizes` are those of its weights, and if `fixed` the only ones."""
    sizes = sorted({row.input_size for row in network.weights})
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
    others = [row.name for row in network.weights if available(network, row.name)]
    return availability(network) + (f" (here: {', '.join(others)})" if others else "")


def strategies(*, json: Json = False) -> None:
    """List the ways to train."""
    from tl_core.training.strategies.strategies import strategies as table

    rows = list(table().values())
    if json:
        printing.as_json(
            [
                {**vars(each), "parameters": each.parameters.name, "recipe": each.recipe.model_dump(mode="json")}
                for each in rows
            ]
        )
        return
    printing.table(["name", "what"], [[each.name, each.description] for each in rows])
    printing.line("auto: one of them, by how many pictures there are and how like they are to what the backbone knows.")


@weights_app.command("list")
def listing(*, here: Here = False, json: Json = False) -> None:
    """List every set of weights, and where it is."""
    rows = [
        {"network": network.name, **weights_row(network, weights_set)}
        for network in Store.default().command_line_backbones().values()
        for weights_set in network.weights
    ]
    if here:
        rows = [row for row in rows if row["available"]]
    if json:
        printing.as_json(rows)
        return
    printing.table(
        ["weights", "trained on", "ImageNet accuracy", "input", "where", "licence"],
        [
            [
                f"{row['network']}:{row['name']}",
                row["trained_on"],
                printing.percent(row["imagenet_accuracy"]) if row["imagenet_accuracy"] is not None else "-",
                f"{row['input_size']} px",
                f"here: {row['where']}" if row["available"] else row["where"],
                row["licence"],
            ]
            for row in rows
        ],
    )
    printing.line(here_now_sentence())


@weights_app.command()
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
    rows: list[dict[str, Any]] = []
    with printing.Bars() as bars:
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
        printing.as_json(rows)
    else:
        for row in rows:
            name = f"{row['network']}:{row['weights']}"
            printing.line(
                f"{name}: {row['error']['message']}" if "error" in row else f"{name}: {row['where']}, {row['file']}"
            )
    if failed:
        missing = ", ".join(f"{row['network']}:{row['weights']}" for row in failed)
        printing.aside(f"{len(failed)} of {len(rows)} could not be fetched: {missing}.")
        raise typer.Exit(GraftError.exit_code)


def _wanted(names: list[str], bars: printing.Bars) -> list[tuple[Network, str]]:
    """Networks and their sets of weights, each once. Networks of timm that are in no table are looked up, which needs torch.

    Raises:
        SpecError: unknown names, all of them at once; nothing has been fetched then.
    """
    backbones: dict[tuple[str, str], Network] = {}
    problems = []
    for text in names:
        name, _, weights = text.partition(":")
        try:
            try:
                backbone = network(name)
            except UnknownName:
                from tl_core.models.metadata.timm_network import describe_network

                backbone = bars.run(describe_network(name))
            backbones[name, backbone.weights_row(weights or None).name] = backbone
        except (SpecError, ModelError) as error:
            problems.append(error.message)
    if problems:
        raise SpecError.of(problems)
    return [(backbone, weights) for (_, weights), backbone in backbones.items()]


def describe(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="timm's name, with or without the weights: resnet26t.ra2_in1k.")
    ],
    *,
    json: Json = False,
) -> None:
    """Add a network of timm to the backbones, by its name."""
    from tl_core.runs.tasks.ask import described

    with printing.Bars() as bars:
        network = described(name, Store.default().command_line_workspace(), bars)
    if json:
        printing.as_json(backbone_row(network))
        return
    weights = network.weights_row()
    printing.line(
        f"{network.name}: {network.parameters / 1e6:.1f} M parameters in {len(network.stages)} stages, {weights.input_size} px."
    )
    printing.line(f"Its stages: {', '.join(network.stages)}. Licence of its weights: {weights.licence}")
    printing.line(f"Use it: train DATA --backbone {network.name}")
