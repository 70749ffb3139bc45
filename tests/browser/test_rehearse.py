"""Rehearse on Home: the camera of a real browser, and a rehearsal that is closed in the middle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Look
from tests.conftest import until

if TYPE_CHECKING:
    from playwright.sync_api import Page

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed; make test installs it.").expect
pytestmark = pytest.mark.browser


def _at_work(store: Path) -> list[Path]:
    return list((store / "workspaces").glob("*/passing"))


def test_the_camera_is_found_then_everything_runs_and_closing_the_dialog_ends_it(
    page: Page, address: str, served_store: Path, look: Look
) -> None:
    page.context.grant_permissions(["camera"])
    page.goto(address)
    page.get_by_role("button", name="Rehearse").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("fake_device_0, 640 x 480 pixels")).to_be_visible()
    expect(dialog.get_by_test_id("stProgress")).to_be_visible()
    until(lambda: _at_work(served_store))
    look(page, "rehearse-at-work")
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_have_count(0)
    until(lambda: not _at_work(served_store))


def test_a_camera_that_the_browser_refuses_is_told_with_what_to_do(
    page: Page, address: str, served_store: Path
) -> None:
    page.goto(address)
    page.get_by_role("button", name="Rehearse").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_text("The browser may not use the camera.")).to_be_visible()
    expect(dialog.get_by_text("allow the camera for this page")).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    until(lambda: not _at_work(served_store))
