"""What an operator sets through the environment, in one place.

| variable              | meaning                                              | default                    |
| --------------------- | ---------------------------------------------------- | -------------------------- |
| GRAFT_STORE           | folder for workspaces, cache and queue               | the user's data folder     |
| GRAFT_KEEP_DAYS       | days after which an idle workspace is swept; 0: never| 0, on a Space 2            |
| GRAFT_MAX_UPLOAD_MB   | size of an upload in all, in megabytes               | 500                        |
| GRAFT_CACHE_GB        | size of the cache, in gigabytes                      | 10                         |
| GRAFT_WEIGHTS_DIR     | folder of weights files, NAME.safetensors or .pth    | none                       |
| GRAFT_EXECUTOR        | where jobs run: local, or MODULE:CLASS               | local                      |
| SPACE_ID              | set by Hugging Face Spaces                           |                            |
"""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from tl_core.errors import SpecError


def store_folder() -> Path:
    """The folder that GRAFT_STORE names, else the user's data folder; it need not exist yet.

    Raises:
        SpecError: it lies where no folder can be.
    """
    chosen = os.environ.get("GRAFT_STORE")
    folder = Path(chosen).expanduser().resolve() if chosen else Path(platformdirs.user_data_dir("graft"))
    nearest = next(place for place in (folder, *folder.parents) if place.exists())
    if not nearest.is_dir():
        raise SpecError(f"GRAFT_STORE is {folder}, but {nearest} is a file. Name a folder.")
    return folder


def executor() -> str:
    """Name of the executor that runs jobs: a row of `runs.process.executor.EXECUTORS`, or `MODULE:CLASS`."""
    return os.environ.get("GRAFT_EXECUTOR", "").strip() or "local"


def on_space() -> bool:
    """Whether this process runs in a Hugging Face Space."""
    return bool(os.environ.get("SPACE_ID"))


def keep_days() -> float:
    """Days that an idle workspace is kept; 0 means for ever."""
    return _number("GRAFT_KEEP_DAYS", 2.0 if on_space() else 0.0)


def max_upload_bytes() -> int:
    return int(_number("GRAFT_MAX_UPLOAD_MB", 500.0) * 1_000_000)


def cache_bytes() -> int:
    return int(_number("GRAFT_CACHE_GB", 10.0) * 1_000_000_000)


def weights_folder() -> Path | None:
    """The operator's own folder of weights files; None where there is none.

    Raises:
        SpecError: what GRAFT_WEIGHTS_DIR names is no folder.
    """
    chosen = os.environ.get("GRAFT_WEIGHTS_DIR")
    if not chosen:
        return None
    folder = Path(chosen).expanduser()
    if not folder.is_dir():
        raise SpecError(f"GRAFT_WEIGHTS_DIR is {folder}, which is no folder. Name one that is there.")
    return folder


def _number(variable: str, default: float) -> float:
    text = os.environ.get(variable, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise SpecError(f"The environment variable {variable} is {text!r}; it takes a number from 0 up.")
    return value
