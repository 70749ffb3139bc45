"""The tensors of a weights file, whatever format it has, with nothing in it ever run.

Needs torch. Knows no networks: whether the tensors fit one is `models.libraries`' matter.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tl_core.errors import DownloadFailed

_HEADER_BYTES = 100_000_000
"""Largest header that the safetensors format allows."""
_WRAPPERS = ("state_dict", "model", "model_state_dict")
"""Under which training programs keep a network's tensors beside an optimizer's and more."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Name to tensor, on the CPU: safetensors, or a state dict of `torch.save` unpickled with nothing but tensors allowed.

    The content tells which, not the file's name. A state dict may stand under `state_dict` or `model`.

    Raises:
        DownloadFailed: the file is damaged, or holds what is no tensor and could run a stranger's code.
    """
    if is_safetensors(path):
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            loaded: Any = load_file(path)
        except (SafetensorError, OSError, ValueError) as error:
            raise DownloadFailed(f"The weights file {path.name} is damaged. Replace or delete {path}.") from error
        return _checked(loaded, path)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=False)
    except Exception as error:
        raise DownloadFailed(
            f"The weights file {path.name} cannot be read as tensors: it is damaged, or holds something else, which could "
            f"run a stranger's code and was not opened. Replace or delete {path}; safetensors are best."
        ) from error
    if isinstance(loaded, dict):
        loaded = next((loaded[name] for name in _WRAPPERS if isinstance(loaded.get(name), dict)), loaded)
    return _checked(loaded, path)


def _checked(loaded: Any, path: Path) -> dict[str, Tensor]:
    """What was read, if it is tensors and at least one: timm takes no tensors at all for the wish to download some."""
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise DownloadFailed(
            f"The weights file {path.name} does not hold a network's tensors. Replace or delete {path}."
        )
    return loaded


def is_safetensors(path: Path) -> bool:
    """A length of eight bytes, the lowest first, then JSON."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") <= _HEADER_BYTES


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
