"""Names that users typed, as they stand in a story. The template escapes them; here they are made short and keep to themselves."""

from __future__ import annotations

from collections.abc import Sequence

from tl_core.markdown import short

_FIRST_STRONG, _END = "\u2068", "\u2069"
"""Unicode's isolate around a text whose own first letter says in which direction it runs."""


def named(name: str, *, longest: int = 48) -> str:
    """`name` on one line of at most `longest` characters. The direction of its letters does not reach what stands beside it."""
    line = short(name, longest=longest)
    return line if line.isascii() else f"{_FIRST_STRONG}{line}{_END}"


def enumerated(phrases: Sequence[str], *, most: int = 8) -> str:
    """ "a, b and c", or the first `most` of them "and 3 more"."""
    shown, more = list(phrases[:most]), len(phrases) - most
    if more > 0:
        shown.append(f"{more:,} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}" if shown else ""
