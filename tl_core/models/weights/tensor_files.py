"""The tensors in a file of weights of any format, read without running code from the file. Needs torch."""

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
"""Keys under which training programs store a network's tensors beside those of an optimizer."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor by its name, on the CPU: from safetensors, or from a state dict of `torch.save` with only tensors allowed.

    The format is recognised by the content, not by the file's name. A state dict may be under the key `state_dict` or `model`.

    Raises:
        DownloadFailed: the file is damaged, or has content other than tensors, which could run a stranger's code.
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
    """`loaded`, if it is a dictionary of at least one tensor: given none, timm would download some."""
    if not isinstance(loaded, dict) or not loaded or not all(isinstance(value, Tensor) for value in loaded.values()):
        raise DownloadFailed(
            f"The weights file {path.name} does not hold a network's tensors. Replace or delete {path}."
        )
    return loaded


def is_safetensors(path: Path) -> bool:
    """Whether the file begins as safetensors do: a length of eight bytes, the lowest first, then JSON."""
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
    """`loaded` with the names and shapes of `module`, which timm builds as `builder` with `options`; its heads keep their values.

    Further tensors in the file (mask tokens, a head of another size) are left out. Where names or shapes differ, timm converts
    the tensors, since files may be older than its code or come from other programs. timm never reads the file itself.

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
        # timm prints what it skips.
        with contextlib.redirect_stdout(io.StringIO()):
            source = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": loaded}, **options)
    except (RuntimeError, KeyError, AttributeError, ValueError, TypeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DownloadFailed(
            f"The weights file of {name} does not hold its tensors ({reason}). Delete it and start again."
        ) from error
    converted: dict[str, Tensor] = source.state_dict()
    return converted
