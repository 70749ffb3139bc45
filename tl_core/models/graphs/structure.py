"""A network as text: what `print(model)` shows, with the output shape of each module. Needs torch.

The text is kept beside the exported backbone, so that a page can show it without torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any

import torch
from torch import Tensor, nn

from tl_core.models.build import Backbone

LONGEST = 2_000
"""Largest number of lines; in a longer text, equal blocks that follow each other are written once."""


def structure(backbone: Backbone, image_size: int) -> str:
    """The modules of `backbone` as a tree with the output shape of each, for one square picture of `image_size` pixels.

    Runs the network once on its own device, which may be the meta device, without gradients. The network is not changed.
    """
    shapes = _shapes(backbone, image_size)
    head = f"Linear(in_features={backbone.network.embedding_size}, out_features=number of classes), the new head"
    lines = list(_tree("", backbone.module, "", shapes, {backbone.network.head: head}, fold=False))
    if len(lines) > LONGEST:
        lines = list(_tree("", backbone.module, "", shapes, {backbone.network.head: head}, fold=True))
    lines[0] = f"{lines[0]}  # images (3, {image_size}, {image_size})"
    return "\n".join(lines) + "\n"


def _shapes(backbone: Backbone, image_size: int) -> dict[str, tuple[int, ...]]:
    """The shape of each module's last output, without the batch, by the module's path."""
    shapes: dict[str, tuple[int, ...]] = {}

    def remember(path: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, given: Any, result: Any) -> None:
            first = result[0] if isinstance(result, tuple | list) and result else result
            if isinstance(first, Tensor):
                shapes[path] = tuple(first.shape[1:])

        return hook

    training = backbone.training
    hooks = [module.register_forward_hook(remember(path)) for path, module in backbone.module.named_modules()]
    try:
        backbone.eval()
        with torch.no_grad():
            backbone.embed(torch.zeros(1, 3, image_size, image_size, device=backbone.mean.device))
    finally:
        for handle in hooks:
            handle.remove()
        backbone.train(training)
    return shapes


def _tree(
    path: str, module: nn.Module, name: str, shapes: dict[str, tuple[int, ...]], said: dict[str, str], *, fold: bool
) -> Iterator[str]:
    """The lines of `module` with its children indented; `said` gives other texts for the modules at its paths."""
    label = f"({name}): " if name else ""
    shape = f" -> {shapes[path]}" if path in shapes else ""
    children = list(module.named_children())
    if path in said:
        yield f"{label}{said[path]}"
        return
    if not children:
        yield f"{label}{module!r}".replace("\n", " ") + shape
        return
    own = module.extra_repr()
    yield f"{label}{type(module).__name__}{f'({own})' if own else ''}{shape}"
    blocks = []
    for child_name, child in children:
        below = f"{path}.{child_name}" if path else child_name
        first, *rest = _tree(below, child, child_name, shapes, said, fold=fold)
        blocks.append((child_name, first.partition("): ")[2], rest))
    # Equal blocks differ in their names only.
    for _, same in groupby(blocks, key=(lambda block: (block[1], block[2])) if fold else (lambda block: block[0])):
        group = list(same)
        names = group[0][0] if len(group) == 1 else f"{group[0][0]} to {group[-1][0]}"
        times = "" if len(group) == 1 else f"{len(group)} x "
        yield f"  ({names}): {times}{group[0][1]}"
        yield from (f"  {line}" for line in group[0][2])
