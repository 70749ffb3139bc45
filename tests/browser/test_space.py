"""The app in the frame of a Hugging Face Space, which keeps the page's address and the camera from it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import serving, token
from tl_core.documents.events import Outlook
from tl_core.runs.process.queue import drop_ticket, take_ticket
from tl_core.runs.store.store import Store, new_token

if TYPE_CHECKING:
    from playwright.sync_api import Browser, FrameLocator, Page

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed; make test installs it.").expect
pytestmark = pytest.mark.browser

HUB = "https://huggingface.co/spaces/somebody/graft"
_REFUSES = """(body, name) => {
    navigator.mediaDevices.getUserMedia = async () => { throw new DOMException("as a browser says it", name); };
}"""
_INSECURE = """body => Object.defineProperty(navigator, "mediaDevices", {value: undefined})"""
"""What a page sees that another machine serves over http."""


@pytest.fixture(scope="module")
def space(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app's own address. As many jobs wait there as may, so a rehearsal is refused at once."""
    del browser  # asked for first, so that no server starts where there is none
    store = Store(tmp_path_factory.mktemp("space") / "store")
    store.make()
    ticket = take_ticket(store.queue, "questions", new_token(), Outlook())
    try:
        with serving(store.root, SPACE_ID="somebody/graft", GRAFT_MOST_JOBS="1") as address:
            yield address
    finally:
        drop_ticket(ticket)


def framed(page: Page, space: str) -> FrameLocator:
    """The app in the hub's page, which is played by a stand-in that does what its documentation says of messages and query strings."""
    html = f"""<iframe id=app style="width:1200px;height:800px"></iframe><script>
    document.getElementById("app").src = "{space}/" + location.search;
    addEventListener("message", event => {{
      if (event.data.queryString) history.replaceState(null, "", "?" + event.data.queryString);
    }});</script>"""
    page.route(re.compile(re.escape(HUB)), lambda route: route.fulfill(body=html, content_type="text/html"))
    page.goto(HUB)
    return page.frame_locator("#app")


def test_a_reload_keeps_the_workspace(page: Page, space: str) -> None:
    app = framed(page, space)
    expect(app.get_by_role("button", name="Show me")).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?workspace=[0-9a-f]{32}"))
    mine = token(page)
    page.reload()
    expect(app.get_by_role("button", name="Show me")).to_be_visible()
    assert token(page) == mine
    app.get_by_text("Copy my link").click()
    expect(app.get_by_text(f"{HUB}?workspace={mine}")).to_be_visible()


def test_what_keeps_the_camera_away_is_told_with_what_to_do(page: Page, space: str) -> None:
    """The frame gives the page no camera; what else a browser may answer is played, one after the other."""
    app = framed(page, space)
    app.get_by_role("button", name="Rehearse").click()
    dialog = app.get_by_role("dialog")
    expect(
        dialog.get_by_text("This page stands in the frame of another one, which gives it no camera.")
    ).to_be_visible()
    expect(dialog.get_by_text("Open the app by its own address")).to_be_visible()
    again = dialog.get_by_role("button", name="Ask for the camera again")
    for answer, said, remedy in (
        ("NotFoundError", "The browser finds no camera.", "Plug one in and ask again"),
        ("NotReadableError", "The camera gives no picture.", "Another program or page may be using it"),
        (None, "Browsers give a page from another machine a camera over https only.", "or behind https"),
    ):
        app.locator("body").evaluate(_REFUSES if answer else _INSECURE, answer)
        again.click()
        expect(dialog.get_by_text(said)).to_be_visible()
        expect(dialog.get_by_text(remedy)).to_be_visible()
