"""Text that a stranger typed as literal text: in Markdown, where it becomes no markup, link, mention or icon, and in a table, where it becomes no formula."""

import re

_PUNCTUATION = re.compile(r"([!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~])")
_IN_A_LINE = re.compile(r"([!#$&*+./<=>?@\[\\\]^_`{|}~])")
_ACTIVE = re.compile(
    r"""
      :(?=[\w/+\-]+:)       # :dog: and :material/home: become icons
    | www(?=\.) | :(?=//)   # addresses become links, though their punctuation is escaped
    | @(?=[\w\[])           # mail addresses, and @names of people
    | \#(?=\d) | (?<=gh)-(?=\d)  # numbers of issues
    """,
    re.VERBOSE | re.IGNORECASE,
)
MOST_READ = 10_000
"""Characters of a text that are looked at, however long it is; no page shows as many of one text."""
FORMULA_SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""With one of these at its start, a spreadsheet takes a cell of a CSV for a formula; the wide ones where Japanese or Chinese is written."""
_FIRST_STRONG, _END = "\u2068", "\u2069"
"""Unicode's isolate around a text whose own first letter says in which direction it runs."""
_JOINER = "\u2060"
"""A character without width, at which nothing breaks and which belongs to no address and no name."""


def short(text: str, *, longest: int = 48) -> str:
    """One line of at most `longest` characters, without control characters."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text[:MOST_READ]).split())
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"


def named(name: str, *, longest: int = 48) -> str:
    """`name` inside a sentence: short, and so that the direction of its letters does not reach what stands beside it."""
    line = short(name, longest=longest)
    return line if line.isascii() else f"{_FIRST_STRONG}{line}{_END}"


def literal(text: str, *, longest: int = 48) -> str:
    """`text`, shortened to one line, as literal text inside Markdown, also that of GitHub and of Streamlit.

    What renderers find in finished text (addresses, @names, :icons:, #numbers) is broken by a character that is not seen.
    """
    return _PUNCTUATION.sub(r"\\\1", _ACTIVE.sub(_broken, short(text, longest=longest)))


def escaped(text: str) -> str:
    """Sentences of Graft's own, in which short names stand as they were typed, as literal text inside a paragraph of Markdown.

    Of signs that are common in sentences, only those are escaped that become markup in the midst of a line.
    """
    return _IN_A_LINE.sub(r"\\\1", _ACTIVE.sub(_broken, text))


def _broken(active: re.Match[str]) -> str:
    return active.group() + _JOINER


def code(text: str, *, longest: int = 80) -> str:
    """`text`, shortened to one line, as a code span, in which nothing is active."""
    return f"`{short(text[:MOST_READ].replace('`', ' '), longest=longest)}`"


def cell(text: str) -> str:
    """`text` as a cell of a table that may be opened in a spreadsheet, which runs no formula then: where it might, an apostrophe stands before it."""
    return f"'{text}" if text.startswith(FORMULA_SIGNS) else text
