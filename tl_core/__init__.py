"""Graft in Python: `train` and `load`. Importing this package imports no torch, scikit-learn or ONNX Runtime."""

import importlib
import os
from typing import TYPE_CHECKING, Any

from tl_core.errors import GraftError
from tl_core.version import __version__

if TYPE_CHECKING:
    from tl_core.api import load, train

__all__ = ["GraftError", "__version__", "load", "train"]


# ONNX Runtime would tell its maker what it runs, from the moment that it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")


def __getattr__(name: str) -> Any:
    # Every module imports this one first, so what it offers is looked up only when it is asked for.
    if name in ("load", "train"):
        return getattr(importlib.import_module("tl_core.api"), name)
    raise AttributeError(f"module 'tl_core' has no attribute {name!r}")
