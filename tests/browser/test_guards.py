"""An app with a password and a small room for uploads, as a visitor meets it."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Look, idle, serving, token
from tests.server.visiting import ask

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed; make test installs it.").expect
pytestmark = pytest.mark.browser
PASSWORD = "correct horse battery staple"
WORKSPACE = "?workspace=" + "ab" * 16


@pytest.fixture(scope="module")
def closed(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    del browser
    settings = {"GRAFT_PASSWORD": PASSWORD, "GRAFT_UPLOADS_GB": "0.001"}
    with serving(tmp_path_factory.mktemp("closed") / "store", **settings) as address:
        yield address


def _log_in(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_label("Password").fill(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Show me")).to_be_visible()


def test_the_password_is_asked_for_by_keyboard_and_the_link_leads_on(page: Page, closed: str, look: Look) -> None:
    page.goto(f"{closed}/{WORKSPACE}")
    field = page.get_by_label("Password")
    expect(field).to_be_focused()
    page.keyboard.type("a guess")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_have_text("That is not the password.")
    expect(field).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Show me")).to_be_visible()
    assert token(page) == "ab" * 16
    idle(page)
    look(page, "password-home")
    page.reload()
    expect(page.get_by_role("button", name="Show me")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_login_fits_a_phone_in_the_app_s_colours(browser: Browser, closed: str, scheme: str) -> None:
    dark = scheme == "dark"
    context = browser.new_context(viewport={"width": 320, "height": 640}, color_scheme="dark" if dark else "light")
    page = context.new_page()
    page.goto(closed)
    assert page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth")
    ground = page.evaluate("() => getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(18, 23, 21)" if dark else "rgb(253, 253, 251)")
    button = page.get_by_role("button", name="Log in").bounding_box()
    assert button is not None
    assert button["height"] >= 44
    context.close()


def test_who_logs_out_sees_the_login_again_and_no_file(page: Page, closed: str) -> None:
    _log_in(page, closed)
    pictures: list[str] = []
    page.on("request", lambda request: pictures.append(request.url) if "/media/" in request.url else None)
    page.get_by_role("button", name="Use my pictures").click()
    page.get_by_text("Samples", exact=True).click()
    page.locator(".st-key-sample-digits button").click()
    expect(page.get_by_role("button", name="Train on these")).to_be_visible()
    expect(page.get_by_alt_text("pictures of 7")).to_be_visible()
    cookie = "; ".join(f"{kept['name']}={kept['value']}" for kept in page.context.cookies())
    media = re.sub(r"^http://[^/]*", "", pictures[0])
    assert ask(closed, media, headers={"Cookie": cookie})[0] == 200
    page.get_by_role("button", name="Log out").click()
    expect(page.get_by_label("Password")).to_be_visible()
    assert "workspace" not in page.url
    assert ask(closed, media)[0] == 401
    assert ask(closed, media, headers={"Cookie": cookie})[0] == 401


def test_the_page_says_why_an_upload_was_refused(page: Page, closed: str, tmp_path: Path, look: Look) -> None:
    large = tmp_path / "large.zip"
    with zipfile.ZipFile(large, "w") as archive:
        archive.writestr("cup/1.jpg", bytes(1_500_000))
    _log_in(page, closed)
    page.get_by_role("button", name="Use my pictures").click()
    page.locator("input[type=file]").last.set_input_files(large)
    expect(page.get_by_text("One upload takes 1 MB in all. Choose fewer pictures, or smaller ones.")).to_be_visible()
    look(page, "upload-refused")


def test_of_a_folder_that_did_not_come_whole_nothing_is_kept_and_the_next_upload_has_room(
    page: Page, closed: str, tmp_path: Path, look: Look
) -> None:
    folder = tmp_path / "mine"
    (folder / "cup").mkdir(parents=True)
    for number in range(12):
        (folder / "cup" / f"{number}.jpg").write_bytes(bytes(300_000))
    small = tmp_path / "small.zip"
    with zipfile.ZipFile(small, "w") as archive:
        archive.writestr("cup/1.jpg", bytes(900_000))
    _log_in(page, closed)
    page.get_by_role("button", name="Use my pictures").click()
    page.locator("input[type=file][webkitdirectory]").set_input_files(folder)
    expect(page.get_by_text("Not all of this folder came, so nothing of it was kept.")).to_be_visible()
    expect(page.get_by_text("One upload takes 1 MB in all. Choose fewer pictures, or smaller ones.")).to_be_visible()
    look(page, "folder-refused")
    page.locator("input[type=file]").last.set_input_files(small)
    expect(page.get_by_role("heading", name="small")).to_be_visible()
