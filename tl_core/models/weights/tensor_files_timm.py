"""The tensors of a file of timm's weights, in the names and shapes that timm's network has today.

Needs torch and timm. Files are older than the code now and then, or come from another program; timm knows how to read each.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

from torch import Tensor, nn

from tl_core.errors import DownloadFailed


def in_todays_names(
    module: nn.Module,
    builder: str,
    options: dict[str, Any],
    tag: str,
    heads: tuple[str, ...],
    loaded: dict[str, Tensor],
) -> dict[str, Tensor]:
    """`loaded` as the network `module`, which timm builds as `builder` with `options`, calls it; its heads keep their values.

    What the file holds besides (mask tokens, a head of another size) is left out. timm is asked only where that is not
    enough, and is given the tensors, never a file.

    Raises:
        DownloadFailed: these are not the tensors of this network.
    """
    own = module.state_dict()
    below = tuple(f"{head}." for head in heads)
    needed = {name for name in own if not name.startswith(below)}
    if not all(name in loaded and loaded[name].shape == own[name].shape for name in needed):
        loaded = _converted(
            builder, {name: value for name, value in options.items() if name != "num_classes"}, tag, loaded
        )
    fitting = {name: loaded[name] for name in needed if name in loaded}
    return {name: value for name, value in own.items() if name not in needed} | fitting


def _converted(builder: str, options: dict[str, Any], tag: str, loaded: dict[str, Tensor]) -> dict[str, Tensor]:
    import timm

    known = timm.models.get_arch_pretrained_cfgs(builder)
    name = f"{builder}.{tag}" if f"{builder}.{tag}" in known else builder
    try:
        # It prints what it skips.
        with contextlib.redirect_stdout(io.StringIO()):
            source = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": loaded}, **options)
    except (RuntimeError, KeyError, AttributeError, ValueError, TypeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DownloadFailed(
            f"The weights file of {name} does not hold its tensors ({reason}). Delete it and start again."
        ) from error
    converted: dict[str, Tensor] = source.state_dict()
    return converted
