"""What lines of Python would say of the choice: how the library loads the backbone, the head's name and layer, and what learns."""

from collections.abc import Mapping

from tl_core.models.registry import Network


def load_lines(network: Network, weights: str) -> str | None:
    """The lines by which the library loads the set called `weights`; None where the library itself does not offer it.

    Raises:
        UnknownName: the network has no such set.
    """
    row = network.weights_row(weights)
    if row.url is None:
        return None
    if network.weights_class:
        made = f"{network.builder}(weights={network.weights_class}.{row.name})"
        return f"from torchvision.models import {network.weights_class}, {network.builder}\n\nnetwork = {made}"
    made = f'timm.create_model("{network.builder.partition(".")[0]}.{row.name}", pretrained=True)'
    return f"import timm\n\nnetwork = {made}"


def head_line(network: Network, classes: int) -> str:
    """The head's name in the library's network, and its features and classes, such as "`fc`, 2048 -> 5"."""
    return f"`{network.head}`, {network.embedding_size} -> {classes}"


def with_parameters(paths: list[str], parameters: Mapping[str, object]) -> list[str]:
    """Those of `paths` that are one of `parameters` or a module that has some."""
    return [path for path in paths if any(name == path or name.startswith(f"{path}.") for name in parameters)]


def parameter_list(parameters: Mapping[str, tuple[int, ...]]) -> str:
    """Names and shapes as text, one parameter a line, in two columns."""
    width = max(map(len, parameters), default=0)
    return "\n".join(f"{name:<{width}}  {' x '.join(map(str, shape))}" for name, shape in parameters.items())
