"""Barriers that axe-core finds on a page, without those of Streamlit itself, which are listed here with their reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import idle

if TYPE_CHECKING:
    from playwright.sync_api import Page

Axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-core is not installed; make test installs it."
).Axe

GRAVE = ("serious", "critical")
ORDER = "heading-order"
"""A rule that axe-core calls moderate: with a heading left out, who listens to a page loses its outline."""


@dataclass(frozen=True)
class Fault:
    """A fault of Streamlit itself, which no option of it mends."""

    rule: str
    within: str
    """A selector: the fault is at an element that matches it, or inside of one."""
    reason: str
    passing: bool = False
    """It is gone after some seconds, so a page may be looked at without it."""


_PRIMARY = (
    "Streamlit writes in the theme's primary colour here, and in white on it on primary buttons. On a dark page no colour has a "
    "contrast of 4.5 to both: the buttons have it."
)
FAULTS = (
    Fault("color-contrast", "[data-testid=stSliderThumbValue]", _PRIMARY),
    Fault("color-contrast", "[role=radiogroup] [data-selected=true]", _PRIMARY),
    Fault("color-contrast", "[data-variant=pills][data-selected=true]", _PRIMARY),
    Fault(
        "aria-dialog-name",
        "[data-testid=stToast]",
        "Streamlit names a message that comes up in the corner after a title that it does not have. What it says is read out.",
        passing=True,
    ),
)
_LOWEST = 900
"""Pixels of the lowest window."""
_HEIGHT = """() => new Promise(told => requestAnimationFrame(() => requestAnimationFrame(() =>
    told(document.querySelector("[data-testid=stMain]").scrollHeight))))"""
"""How high the page is, once the browser has drawn it in the size that its window has now."""
_FOUND = """faults => axe.run(
    document.querySelector("[role=dialog]") ?? document, {resultTypes: ["violations"], elementRef: true}
).then(found => found.violations.flatMap(({id, impact, nodes}) => nodes.map(node => ({
    rule: id,
    impact,
    html: node.html.slice(0, 200),
    why: [...node.any, ...node.all, ...node.none].map(check => check.message).join("; "),
    fault: faults.findIndex(([rule, within]) => rule === id && node.element?.closest(within)),
}))))"""
"""The elements at fault, each with the number of the listed fault or -1: of a dialog alone, where one is open, since the page under it can
be used by nobody meanwhile."""


def show(page: Page, *, scheme: str, width: int) -> None:
    """Light or dark, in a window that shows the whole page: axe-core passes over colours that are scrolled out of sight."""
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    shown, height = 0, _LOWEST
    while shown < height:
        shown = height
        page.set_viewport_size({"width": width, "height": shown})
        idle(page)
        height = page.evaluate(_HEIGHT)


def find(page: Page) -> tuple[list[str], set[Fault]]:
    """A line for each element with a grave violation that is no listed fault, and the listed faults that were found."""
    if not page.evaluate("() => 'axe' in window"):
        page.evaluate(Axe().axe_script)
    lines, seen = [], set()
    for at in page.evaluate(_FOUND, [[fault.rule, fault.within] for fault in FAULTS]):
        if at["impact"] not in GRAVE and at["rule"] != ORDER:
            continue
        if at["fault"] >= 0:
            seen.add(FAULTS[at["fault"]])
        else:
            lines.append(f"{at['rule']} at {at['html']}: {at['why']}")
    return lines, seen
