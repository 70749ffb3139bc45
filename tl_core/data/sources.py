"""Lists the files of a folder, and makes file names that come from users safe to show.

The name that a user gave a file is display text only: where the file lies on disk is `SourceFile.path`, which may differ.
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
"""Levels of folders inside one another that are allowed."""


class SourceFile(NamedTuple):
    """A file as it was given, and where its bytes are."""

    path: Path
    """Where the file lies on disk."""
    parts: tuple[str, ...]
    """Its folders and its own name, as the user gave them: raw text, never used as a path."""


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
        # `Path.is_dir` and `is_file` return False for a link that leads nowhere or to itself; those of `entry` raise.
        if inner.is_dir():
            yield from _walk(inner, (*parts, entry.name), above | {identity})
        elif inner.is_file():
            yield SourceFile(inner, (*parts, entry.name))


def shown(text: str) -> str:
    """`text` made safe for a page or a terminal: one line of valid Unicode without control or direction characters.

    Letters of every script are kept, composed (NFC), so that a name from a Mac equals the same name from another system.
    """
    valid = text.encode("utf-8", "replace").decode("utf-8")
    composed = unicodedata.normalize("NFC", valid)
    return " ".join("".join(" " if _hidden(letter) else letter for letter in composed).split())


def shown_path(parts: tuple[str, ...]) -> str:
    """The original path of a file, for display."""
    return "/".join(shown(part) for part in parts)


def shortened(text: str, longest: int = LONGEST_NAME) -> str:
    """`text` cut to at most `longest` characters, with an ellipsis where something was cut."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def _hidden(letter: str) -> bool:
    category = unicodedata.category(letter)
    # The two joiners are needed to write Persian, Indic scripts and emoji; other format characters can reverse the text.
    return category in ("Cc", "Cs", "Cn", "Zl", "Zp") or (category == "Cf" and letter not in "\u200c\u200d")
