"""Every page can be used by everybody: the Tab key reaches all, axe-core finds nothing, and the browser's console stays empty.

A page is opened once for all of this, since that costs more than most of the checks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import barriers, conftest, tab_key
from tests.browser.pages import EACH_VISIT, VISITS, Furnished, furnished
from tests.conftest import PATIENCE
from ui.places import HOME, PLACES

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["furnished"]

pytestmark = pytest.mark.browser

LIGHT, DARK = "light", "dark"
WIDE, PHONE = 1280, 390
"""Pixels."""
USUAL_LOOKS = ((LIGHT, WIDE), (DARK, PHONE))
"""No text has other colours on a phone than in a wide window, so these two show all colours and both arrangements of a page."""
EACH_LOOK = [
    pytest.param(
        scheme, width, id=f"{scheme}, {width} pixels", marks=() if (scheme, width) in USUAL_LOOKS else pytest.mark.slow
    )
    for scheme, width in (*USUAL_LOOKS, (LIGHT, PHONE), (DARK, WIDE))
]
_looked_at: set[tuple[str, str, int]] = set()
_faults: set[barriers.Fault] = set()


@dataclass(frozen=True)
class Visited:
    """A page that is open in one of its states."""

    name: str
    """Of the row in `VISITS`."""
    page: Page
    console: list[str]
    """What the browser said of errors and warnings since the page was opened."""


@pytest.fixture(scope="module")
def walker(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(PATIENCE * 1000)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="module", params=EACH_VISIT)
def visited(request: pytest.FixtureRequest, walker: Page, furnished: Furnished) -> Iterator[Visited]:
    """Each page in turn, opened in a wide light window; all tests that ask for it see the same page, in the order of this file."""
    said: list[str] = []

    def note(message: Any) -> None:
        if message.type in ("error", "warning"):
            said.append(f"{message.type}: {message.text} {message.location.get('url', '')}")

    def fail(error: Any) -> None:
        said.append(f"exception: {error}")

    def refuse(response: Any) -> None:
        if response.status >= 400:
            said.append(f"{response.status}: {response.url}")

    # The page before would be drawn again in the new size.
    walker.goto("about:blank")
    walker.set_viewport_size({"width": WIDE, "height": 900})
    walker.emulate_media(color_scheme=LIGHT)
    heard = (("console", note), ("pageerror", fail), ("response", refuse))
    for event, listener in heard:
        walker.on(event, listener)  # type: ignore[call-overload]
    furnished.open(walker, VISITS[request.param])
    yield Visited(request.param, walker, said)
    for event, listener in heard:
        walker.remove_listener(event, listener)


def test_every_page_is_gone_through() -> None:
    gone_through = {visit.path.partition("?")[0].strip("/") for visit in VISITS.values()}
    assert gone_through == {
        "",
        *(Path(place.file).stem.partition("_")[2] for place in PLACES.values() if place is not HOME),
    }


def test_a_page_whose_parts_wait_for_the_code_that_draws_them_is_not_taken_for_a_whole_one(
    page: Page, monkeypatch: pytest.MonkeyPatch
) -> None:
    from playwright.sync_api import TimeoutError as WaitedInVain

    page.set_content("<div data-test-script-state=notRunning>A title <b data-testid=stSkeleton>and links</b></div>")
    monkeypatch.setattr(conftest, "PATIENCE", 0.1)
    with pytest.raises(WaitedInVain):
        conftest.idle(page)
    page.locator("b").evaluate("element => element.remove()")
    monkeypatch.undo()
    conftest.idle(page)


def test_everything_is_reached_by_keyboard_and_the_focus_is_seen(visited: Visited) -> None:
    found = tab_key.walk(visited.page)
    assert found.reached > 1
    assert not found.left, "Tab does not reach: " + "\n".join(found.left)
    assert not found.unseen, "The focus is not seen on: " + "\n".join(found.unseen)
    # A dialog covers the links to the pages, the only ones that have a fault.
    covered = visited.page.locator("[role=dialog], dialog[open]").count()
    assert set(found.faults) == (set() if covered else set(tab_key.FAULTS)), (
        "A fault of Streamlit shows where none was known, or one that is listed has gone: take it from the list."
    )


@pytest.mark.parametrize(("scheme", "width"), EACH_LOOK)
def test_axe_finds_nothing_grave(visited: Visited, scheme: str, width: int) -> None:
    barriers.show(visited.page, scheme=scheme, width=width)
    lines, faults = barriers.find(visited.page)
    assert not lines, "\n".join(lines)
    _faults.update(faults)
    _looked_at.add((visited.name, scheme, width))


def test_the_console_of_the_browser_stays_empty(visited: Visited) -> None:
    assert not visited.console, "\n".join(visited.console)


def test_every_listed_fault_of_streamlit_that_axe_finds_is_still_there() -> None:
    if {name for name, scheme, _ in _looked_at if scheme == DARK} != set(VISITS):
        pytest.skip("Not every page was gone through.")
    mended = [
        f"{fault.rule} at {fault.within}" for fault in barriers.FAULTS if not fault.passing and fault not in _faults
    ]
    assert not mended, f"Streamlit no longer has these faults: take them from the list. {mended}"
