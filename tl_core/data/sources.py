"""The files of a folder or an unpacked zip, and names from strangers made fit to be shown. Knows no classes and no pixels.

What a stranger called a file is display text: where it lies on disk is `SourceFile.path`, and the two need not agree.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tl_core.errors import LayoutError

LONGEST_NAME = 100
"""Characters of a class name that are shown."""
DEEPEST = 100
"""Folders inside one another; further down nobody keeps pictures."""


class SourceFile(NamedTuple):
    path: Path
    """Where its bytes are."""
    parts: tuple[str, ...]
    """Its folders and its own name, as they were given: raw text, never a path."""


def walk(root: Path) -> list[SourceFile]:
    """All regular files below `root`, in the order of their names; links are followed, but never in a circle.

    A folder that may not be opened is left out, as if it were empty.

    Raises:
        LayoutError: folders lie more than `DEEPEST` deep inside one another.
    """
    return list(_walk(root, (), frozenset()))


def _walk(folder: Path, parts: tuple[str, ...], above: frozenset[tuple[int, int]]) -> Iterator[SourceFile]:
    try:
        status = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    identity = (status.st_dev, status.st_ino)
    if identity in above:
        return
    if len(parts) > DEEPEST:
        raise LayoutError(f"Folders lie more than {DEEPEST} deep inside one another here. Give a folder higher up.")
    for entry in entries:
        inner = folder / entry.name
        # A path's own questions answer no to a link that leads nowhere or to itself; those of `entry` raise.
        if inner.is_dir():
            yield from _walk(inner, (*parts, entry.name), above | {identity})
        elif inner.is_file():
            yield SourceFile(inner, (*parts, entry.name))


def shown(text: str) -> str:
    """`text` fit for a page or a terminal: one line of valid Unicode without control or direction characters.

    Letters of every script stay, composed (NFC), so that a name from a Mac equals the same name from elsewhere.
    """
    valid = text.encode("utf-8", "replace").decode("utf-8")
    composed = unicodedata.normalize("NFC", valid)
    return " ".join("".join(" " if _hidden(letter) else letter for letter in composed).split())


def shown_path(parts: tuple[str, ...]) -> str:
    """A file's original place, for display."""
    return "/".join(shown(part) for part in parts)


def shortened(text: str, longest: int = LONGEST_NAME) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _hidden(letter: str) -> bool:
    category = unicodedata.category(letter)
    # The two joiners are part of how Persian, Indic scripts and emoji are written; other format characters turn text around.
    return category in ("Cc", "Cs", "Cn", "Zl", "Zp") or (category == "Cf" and letter not in "\u200c\u200d")
