"""Everything on a page that can be used by mouse is reached by the Tab key, and where the focus is can be seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.pages import EACH_VISIT, VISITS, Furnished, furnished
from tests.conftest import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["furnished"]

pytestmark = pytest.mark.browser

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
_seen: set[str] = set()
_visited: set[str] = set()
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


@pytest.fixture(scope="module")
def walker(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE * 1000)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("name", EACH_VISIT)
def test_everything_is_reached_by_keyboard_and_the_focus_is_seen(name: str, walker: Page, furnished: Furnished) -> None:
    furnished.open(walker, VISITS[name])
    walker.evaluate(_NOTE, ", ".join(BY_ARROWS))
    for _ in range(MOST):
        walker.keyboard.press("Tab")
        if not walker.evaluate("() => window.step()"):
            break
    else:
        pytest.fail("Tab does not come round: something keeps the focus.")
    found = walker.evaluate("faults => window.found(faults)", list(FAULTS))
    assert found["reached"] > 2
    assert not found["left"], "Tab does not reach: " + "\n".join(found["left"])
    assert not found["unseen"], "The focus is not seen on: " + "\n".join(found["unseen"])
    assert set(found["faults"]) <= set(allowed(name)), "A fault of Streamlit shows where none was known."
    _seen.update(found["faults"])
    _visited.add(name)


def test_every_listed_fault_of_streamlit_is_still_there() -> None:
    if not any(allowed(name) for name in _visited):
        pytest.skip("No page that may show one was gone through.")
    assert _seen == set(FAULTS), "Streamlit no longer has these faults: take them from the list."


def allowed(name: str) -> list[str]:
    """The listed faults that the visit `name` may show; a dialog covers the links to the pages."""
    return [] if name in ("Home, asked to delete", "Evaluate, why it says so", "Present, the slides") else list(FAULTS)
