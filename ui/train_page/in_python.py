"""What a line of Python would say of the choice: how the library loads the backbone, the head's name and layer, and what learns."""

from __future__ import annotations

from tl_core.models.registry import Network
from tl_core.training.strategies.strategies import Strategy, stage_rates


def load_call(network: Network, weights: str) -> str | None:
    """The call by which the library loads the set called `weights`; None where the library itself does not offer it.

    Raises:
        UnknownName: the network has no such set.
    """
    row = network.weights_row(weights)
    if row.url is None:
        return None
    if network.source == "torchvision":
        return f'torchvision.models.{network.builder}(weights="{row.name}")'
    return f'timm.create_model("{network.builder.partition(".")[0]}.{row.name}", pretrained=True)'


def head_line(network: Network, classes: int) -> str:
    """The head's name in the library's network, and its features and classes, such as "`fc`, 2048 -> 5"."""
    return f"`{network.head}`, {network.embedding_size} -> {classes}"


def learning_modules(network: Network, strategy: Strategy, stages: int) -> list[str]:
    """Names of the modules whose parameters may learn, from the stem up, the head last; `stages`: how many last ones, where asked."""
    rates = stage_rates(strategy, len(network.stages), stages)
    found = [
        module
        for stage, rate in zip(network.layout.stages, rates, strict=False)
        if rate is not None
        for module in stage.modules
        if not module.startswith("@")
    ]
    return [*found, network.head]
