"""Numbers, times and names as a person reads them.

Names that a user typed are display text: `plain` makes them safe inside Markdown, `label` inside a plotly figure.
"""

import html
import re
import time

from tl_core.markdown import MOST_READ, literal, short
from tl_core.training.strategies.strategies import AUTO, DEFAULT, strategies
from tl_core.wording import NARROW, SURE, count, duration, in_a_row, interval, percent, plural
from ui.server_paths import shortened

__all__ = ["DEVICE_WORDS", "NARROW", "SPLIT_WORDS", "ago", "count", "distinct", "duration", "file_stem", "in_a_row", "interval", "label", "percent", "plain", "plural", "short", "strategy_title", "sureness"]  # fmt: skip

SPLIT_WORDS = {
    "train": "to learn from (training)",
    "val": "to choose settings by (validation)",
    "test": "held out (test)",
}
"""What the pictures of each split are for, with the field's term."""
DEVICE_WORDS = {"cpu": "this processor (CPU)", "cuda": "this GPU", "mps": "this Mac's GPU"}
_OPEN = {AUTO: "Let the rule decide", DEFAULT: "The default strategy"}
"""What a run may hold in place of a strategy until its worker has decided."""


def plain(text: str, *, longest: int = 48) -> str:
    """`text` as literal text inside Streamlit's Markdown: no markup, link, icon, formula or HTML comes of it.

    Paths of the server are shortened.
    """
    # Cut first: a text of megabytes would hold up the page for seconds.
    return literal(shortened(text[:MOST_READ]), longest=longest)


def label(text: str, *, longest: int = 20) -> str:
    """`text` as literal text inside a plotly figure, which reads a little HTML."""
    return html.escape(short(text, longest=longest), quote=False)


def ago(moment: float, *, now: float | None = None) -> str:
    """How long ago `moment` (seconds since the epoch) was."""
    seconds = (time.time() if now is None else now) - moment
    for limit, unit, length in ((3600, "min", 60), (86_400, "h", 3600), (30 * 86_400, "days", 86_400)):
        if seconds < 60:
            return "just now"
        if seconds < limit:
            count = int(seconds // length)
            return f"{count} day ago" if unit == "days" and count == 1 else f"{count} {unit} ago"
    return time.strftime("%d %B %Y", time.localtime(moment))


def distinct(labels: dict[str, str]) -> dict[str, str]:
    """Labels by id, made different from each other: the second "Cats" becomes "Cats (2)". `labels`: newest first.

    A select box sends back the label, so of two equal ones the wrong one could open. They are counted from the oldest on, so
    that a label keeps its meaning when a newer one is added.
    """
    taken: dict[str, str] = {}
    for key, label in reversed(labels.items()):
        number, text = 1, label
        while text in taken:
            number += 1
            text = f"{label} ({number})"
        taken[text] = key
    return {key: text for text, key in reversed(taken.items())}


def strategy_title(name: str) -> str:
    """What a strategy is called on the pages, also `auto`, the default, and one of an old run that the table lacks."""
    row = strategies().get(name)
    return row.title if row else _OPEN.get(name, name)


def sureness(probability: float) -> str:
    """How sure an answer is, in words; `probability` is calibrated."""
    if probability >= SURE:
        return "sure"
    return "fairly sure" if probability >= 0.65 else "not sure"


def file_stem(name: str) -> str:
    """A name for a download: ASCII letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:40] or "graft"
