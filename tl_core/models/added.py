"""Where the rows of networks lie that somebody typed by hand: one file each in the store's folder `networks`.

Knows names and files, not what a row says (`tl_core.models.registry`), and how one is made (`tl_core.models.metadata.describe`).
"""

from __future__ import annotations

import re
from pathlib import Path

from tl_core.errors import SpecError
from tl_core.settings import store_folder

FOLDER = "networks"
NAME = re.compile(r"[a-z0-9][a-z0-9_]{1,79}(\.[a-z0-9][a-z0-9_]{0,59})?")
"""A network of timm, and after the dot a set of its weights."""
ENDING = ".json"


def check_name(name: str) -> None:
    """Refuse what cannot be a name of timm's, before it becomes the name of a file.

    Raises:
        SpecError: says how such names look.
    """
    if not NAME.fullmatch(name):
        raise SpecError(
            f"{name!r} cannot be the name of a network: timm's names are lower-case letters, digits and underscores, "
            "with a dot before the weights, such as convnextv2_nano.fcmae_ft_in1k."
        )


def file_of(name: str) -> Path:
    """The file of the row of the network called `name`, whether or not it is there.

    Raises:
        SpecError: that cannot be the name of a network.
    """
    check_name(name)
    return store_folder() / FOLDER / f"{name}{ENDING}"


def files() -> list[tuple[Path, int]]:
    """The rows in this store, by name, each with the time of its last change in nanoseconds."""
    folder = store_folder() / FOLDER
    found = []
    try:
        entries = sorted(folder.iterdir())
    except OSError:
        return []
    for file in entries:
        if file.name.endswith(ENDING) and NAME.fullmatch(file.name.removesuffix(ENDING)):
            try:
                found.append((file, file.stat().st_mtime_ns))
            except OSError:
                continue
    return found
