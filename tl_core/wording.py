"""Numbers as a person reads them: shares, ranges, durations and counts, in the same words on the pages and in the story of a run."""

from collections.abc import Sequence
from math import ceil, floor

NARROW = "\u202f"
"""A thin space that does not break, between a number and its unit."""
SURE = 0.9
"""Probability from which on an answer is called sure."""


def of_100(fraction: float) -> float:
    """0.934 as 93, and 0.625 as 63: halves go up. A share under 1 does not become 100, and one over 0 not 0: 0.998 as 99.8."""
    hundredths = 100 * fraction
    whole = floor(hundredths + 0.5)
    if whole in (0, 100) and 0 < fraction < 1:
        return round(min(max(hundredths, 0.1), 99.9), 1)
    return whole


def percent(fraction: float) -> str:
    """0.934 as "93 %", as `of_100`; 0.0004 as "under 0.1 %"."""
    return f"{'under ' if 0 < fraction < 0.001 else ''}{of_100(fraction):g}{NARROW}%"


def interval(low: float, high: float) -> str:
    """(0.9, 0.95) as "90 to 95 %", and (0.998, 0.9994) as "99.8 to 99.9 %": a narrow range keeps its two ends."""
    first, last = floor(low * 100 + 0.5), floor(high * 100 + 0.5)
    span = f"{first} to {last}" if first != last or low == high else f"{low * 100:.1f} to {high * 100:.1f}"
    return f"{span}{NARROW}%"


def duration(seconds: float) -> str:
    """75 as "1 min 15 s", and 0.2 as "1 s"."""
    whole = round(seconds) or ceil(seconds)
    if whole < 100:
        return f"{whole}{NARROW}s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes}{NARROW}min" + (f" {rest}{NARROW}s" if rest and minutes < 5 else "")
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{NARROW}h" + (f" {minutes}{NARROW}min" if minutes else "")


def count(number: int) -> str:
    """3406984 as "3.4 million", 6405 as "6,405"."""
    return f"{number / 1e6:.1f} million" if number >= 1_000_000 else f"{number:,}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """1 as "1 picture", 2 as "2 pictures"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def in_a_row(phrases: Sequence[str], word: str = "and") -> str:
    """Three phrases as "a, b and c", where `word` is "and"."""
    return f" {word} ".join([", ".join(phrases[:-1]), phrases[-1]] if len(phrases) > 1 else phrases)


def listed(phrases: Sequence[str], most: int, rest: str = "more") -> str:
    """At most `most` of `phrases`: "a, b" or "a, b and 7 more", where `rest` is "more"."""
    left = len(phrases) - most
    return ", ".join(phrases[:most]) + (f" and {left:,} {rest}" if left > 0 else "")


def enumerated(phrases: Sequence[str], *, most: int = 8) -> str:
    """ "a, b and c", or the first `most` of them "and 3 more"."""
    left = len(phrases) - most
    return in_a_row([*phrases[:most], *([f"{left:,} more"] if left > 0 else [])])
