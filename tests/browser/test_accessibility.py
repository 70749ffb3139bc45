"""axe-core finds nothing on any page, light and dark, wide and on a phone, and the browser's console stays empty."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser.conftest import idle
from tests.browser.pages import EACH_VISIT, VISITS, Furnished, Visit, furnished
from tests.conftest import PATIENCE
from ui.places import HOME, PLACES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["furnished"]

Axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-core is not installed; make test installs it."
).Axe
pytestmark = pytest.mark.browser

LIGHT, DARK = "light", "dark"
WIDTHS = (1280, 390)
GRAVE = ("serious", "critical")
ORDER = "heading-order"
"""A rule that axe-core calls moderate: with a heading left out, who listens to a page loses its outline."""
_HEIGHT = "() => document.querySelector('[data-testid=stMain]').scrollHeight"


@dataclass(frozen=True)
class Fault:
    """A fault of Streamlit itself, which no option of it mends."""

    rule: str
    within: str
    """A selector: the fault is at an element that matches it, or inside of one."""
    reason: str


_PRIMARY = (
    "Streamlit writes in the theme's primary colour here, and in white on it on primary buttons. On a dark page no colour has a "
    "contrast of 4.5 to both: the buttons have it."
)
FAULTS = (
    Fault("color-contrast", "[data-testid=stSliderThumbValue]", _PRIMARY),
    Fault("color-contrast", "[role=radiogroup] [data-selected=true]", _PRIMARY),
    Fault("color-contrast", "[data-variant=pills][data-selected=true]", _PRIMARY),
)
_seen: set[Fault] = set()
_visited: set[str] = set()


@pytest.fixture(scope="module")
def walker(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": WIDTHS[0], "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE * 1000)
    yield context.new_page()
    context.close()


@pytest.fixture
def console(walker: Page) -> Iterator[list[str]]:
    """What the browser says of errors meanwhile."""
    said: list[str] = []

    def note(message: Any) -> None:
        if message.type in ("error", "warning"):
            said.append(f"{message.type}: {message.text} {message.location.get('url', '')}")

    def fail(error: Any) -> None:
        said.append(f"exception: {error}")

    def refuse(response: Any) -> None:
        if response.status >= 400:
            said.append(f"{response.status}: {response.url}")

    heard = (("console", note), ("pageerror", fail), ("response", refuse))
    for event, listener in heard:
        walker.on(event, listener)  # type: ignore[call-overload]
    yield said
    for event, listener in heard:
        walker.remove_listener(event, listener)


def test_every_page_is_gone_through() -> None:
    gone_through = {visit.path.partition("?")[0].strip("/") for visit in VISITS.values()}
    assert gone_through == {
        "",
        *(Path(place.file).stem.partition("_")[2] for place in PLACES.values() if place is not HOME),
    }


@pytest.mark.parametrize("name", EACH_VISIT)
def test_a_page_can_be_used_by_everybody_and_its_console_is_empty(
    name: str, walker: Page, console: list[str], furnished: Furnished
) -> None:
    visit: Visit = VISITS[name]
    walker.set_viewport_size({"width": WIDTHS[0], "height": 900})
    walker.emulate_media(color_scheme=LIGHT)
    furnished.open(walker, visit)
    found = []
    for width in WIDTHS:
        for scheme in (LIGHT, DARK):
            walker.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            _whole(walker, width)
            found += [f"{scheme}, {width} pixels: {line}" for line in _violations(walker, scheme)]
    assert not found, "\n".join(found)
    assert not console, "\n".join(console)
    _visited.add(name)


def test_every_listed_fault_of_streamlit_is_still_there() -> None:
    if _visited != set(VISITS):
        pytest.skip("Not every page was gone through.")
    mended = [f"{fault.rule} at {fault.within}" for fault in FAULTS if fault not in _seen]
    assert not mended, f"Streamlit no longer has these faults: take them from the list. {mended}"


def _whole(page: Page, width: int) -> None:
    """A window that shows the whole page: axe-core passes over colours that are scrolled out of sight."""
    page.set_viewport_size({"width": width, "height": 900})
    page.set_viewport_size({"width": width, "height": max(900, page.evaluate(_HEIGHT))})
    idle(page)


def _violations(page: Page, scheme: str) -> list[str]:
    """A line for each element with a grave violation that is no listed fault; on a dark page only the colours are looked at again."""
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if scheme == DARK:
        options["runOnly"] = ["color-contrast"]
    lines = []
    for violation in Axe().run(page, options=options).response["violations"]:
        if violation["impact"] not in GRAVE and violation["id"] != ORDER:
            continue
        for node in violation["nodes"]:
            fault = _listed(page, violation["id"], node["target"])
            if fault is None:
                why = "; ".join(check["message"] for check in node["any"] + node["all"] + node["none"])
                lines.append(f"{violation['id']} at {node['html'][:200]}: {why}")
            else:
                _seen.add(fault)
    return lines


def _listed(page: Page, rule: str, target: list[Any]) -> Fault | None:
    """The listed fault that a violation is an example of; `target`: axe-core's path to the element."""
    for fault in FAULTS:
        if fault.rule == rule and page.evaluate(
            "([target, within]) => document.querySelector(target.flat()[0])?.closest(within) != null",
            [target, fault.within],
        ):
            return fault
    return None
