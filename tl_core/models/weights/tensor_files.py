"""The tensors of a weights file, whatever format it has, with nothing in it ever run.

Needs torch. Knows no networks: whether the tensors fit one is `models.libraries`' matter.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

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
