"""What the Tab key reaches on a page, and whether the focus is seen there, without the faults of Streamlit itself that are listed here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

BY_ARROWS = {
    "[role=radiogroup] [role=radio]": "arrow keys go from one to the next; Tab reaches the group",
    "[role=tablist] [role=tab]": "as above",
    "[data-variant=pills]": "as above",
    "button[aria-haspopup=listbox]": "the button in a field that opens its list: the arrow keys do",
    "[aria-label^='Remove ']": "the crosses in a field of several choices: Backspace takes the last one away",
    "[data-testid=stNumberInput] button": "plus and minus in a field for a number: the arrow keys do the same",
}
"""What Tab passes over because the keys named here do it, as WAI-ARIA's patterns say."""
MOST = 1000
"""Presses of Tab on one page, far more than it has places."""
FAULTS = {
    "a[data-testid=stPageLink-NavLink]": "Streamlit shows the focus on the link to the open page by the background that it has anyway",
}
"""Faults of Streamlit itself, which no option of it mends: where the focus is not seen."""
_NOTE = """passed_over => {
    const USED = "button, a[href], input, select, textarea, summary, [role=button], [role=tab], [role=slider], [role=combobox]";
    const LOOKS = ["outlineStyle", "outlineWidth", "outlineColor", "boxShadow", "borderColor", "backgroundColor", "color"];
    const around = element => {
        const found = element.nextElementSibling ? [element.nextElementSibling] : [];
        for (let one = element; one && one !== document.body && found.length < 6; one = one.parentElement) found.push(one);
        return found;
    };
    const looks = element => JSON.stringify(around(element).map(one => {
        const style = getComputedStyle(one);
        return LOOKS.map(name => style[name]);
    }));
    const shown = element => element.checkVisibility({visibilityProperty: true, opacityProperty: true})
        && element.getBoundingClientRect().width > 1;
    const told = element => element.cloneNode(true).outerHTML.slice(0, 300) + " " + element.innerText;
    // Also what a component draws, in a tree of its own.
    const all = (root, selector) => [...root.querySelectorAll("*")].flatMap(element =>
        [...(element.matches(selector) ? [element] : []), ...(element.shadowRoot ? all(element.shadowRoot, selector) : [])]);
    const focused = () => {
        let element = document.activeElement;
        while (element.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
        return element;
    };
    const within = all(document, "[role=dialog], dialog[open]")[0] ?? document;
    focused().blur();
    const wanted = all(within, USED).filter(element =>
        shown(element) && !element.disabled && element.ariaDisabled !== "true" && !element.closest("[aria-hidden=true], [inert]"));
    const before = new Map(wanted.map(element => [element, looks(element)]));
    const reached = new Set(), unseen = new Set();
    const left = () => wanted.filter(element => element.isConnected && !reached.has(element) && !element.matches(passed_over));
    let first = null, previous = null, rounds = 0;
    window.step = () => {
        const element = focused(), moved = element !== previous;
        previous = element;
        if (element === document.body) return true;  // between the end and the beginning
        if (element === first && moved) rounds += 1;
        first ??= element;
        // More than one round: where a part is drawn again, the focus begins anew. In a table it stays, from cell to cell.
        if (reached.has(element)) return rounds < 3;
        reached.add(element);
        if (before.get(element) === looks(element)) unseen.add(element);
        return left().length > 0;
    };
    window.found = faults => ({
        left: left().map(told),
        unseen: [...unseen].filter(element => !faults.some(fault => element.matches(fault))).map(told),
        faults: faults.filter(fault => [...unseen].some(element => element.matches(fault))),
        reached: wanted.filter(element => reached.has(element)).length,
    });
}"""


@dataclass(frozen=True)
class Walk:
    """What came of going through a page, or its dialog, by the Tab key."""

    reached: int
    """How many of the elements that can be used."""
    left: list[str]
    """Those that were not reached, as HTML."""
    unseen: list[str]
    """Those that look the same with the focus as without it and are no listed fault, as HTML."""
    faults: list[str]
    """The listed faults that were met."""


def walk(page: Page) -> Walk:
    """Press Tab until everything was reached, or it came round. Raises AssertionError where something keeps the focus."""
    page.evaluate(_NOTE, ", ".join(BY_ARROWS))
    for _ in range(MOST):
        page.keyboard.press("Tab")
        if not page.evaluate("() => window.step()"):
            break
    else:
        raise AssertionError("Tab does not come round: something keeps the focus.")
    found = Walk(**page.evaluate("faults => window.found(faults)", list(FAULTS)))
    # The help of what has the focus would cover other parts.
    page.evaluate("() => document.activeElement.blur()")
    return found
