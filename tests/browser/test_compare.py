"""Two runs are compared, and a chart is saved, by mouse and by keyboard, on a light and a dark page and on a phone."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from tests.app import records
from tests.browser.conftest import Look, idle, serving
from tests.conftest import PATIENCE

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser


@pytest.fixture
def address(browser: Browser, store: Path) -> Iterator[str]:
    """The Compare page of a workspace with two runs, of which the newer one is better."""
    where = records.workspace()
    data = records.dataset(each=40)
    for name, mistakes in (("Old", range(7)), ("New", [8])):
        records.run(data, name=name, mistakes=mistakes)
    with serving(store) as url:
        yield f"{url}/Compare?workspace={where.token}"


def saved(page: Page, *, by_keyboard: bool) -> Image.Image:
    """What the button of the first chart saves."""
    button = page.get_by_role("button", name="Download plot as a PNG").first
    button.scroll_into_view_if_needed()
    with page.expect_download(timeout=PATIENCE * 1000) as download:
        if by_keyboard:
            button.focus()
            page.keyboard.press("Enter")
        else:
            button.click()
    assert download.value.suggested_filename == "b-none-is-faster-or-more-often-right.png"
    return Image.open(io.BytesIO(Path(download.value.path()).read_bytes())).convert("RGB")


def test_a_chart_is_saved_by_one_click_as_it_is_seen(address: str, page: Page, look: Look) -> None:
    from playwright.sync_api import expect

    page.goto(address)
    expect(page.get_by_role("heading", name="Cannot tell with 18 pictures; about")).to_be_visible()
    idle(page)
    chart = page.locator(".stPlotlyChart").first
    width = chart.evaluate("element => element.getBoundingClientRect().width")
    picture = saved(page, by_keyboard=False)
    assert picture.width == pytest.approx(2 * width, abs=4), "of double size"
    assert min(picture.getpixel((2, 2))) > 240, "on the light page's own background"  # type: ignore[type-var]
    kept = page.url
    page.reload()
    expect(page.get_by_text("Only B right (7)")).to_be_visible()
    assert page.url == kept
    look(page, "compare")


def test_on_a_dark_phone_the_saved_chart_is_dark_and_its_title_is_not_covered(
    address: str, browser: Browser, look: Look
) -> None:
    context = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    context.set_default_timeout(PATIENCE * 1000)
    page = context.new_page()
    page.goto(address)
    page.locator(".stPlotlyChart .gtitle").first.wait_for()
    idle(page)
    picture = saved(page, by_keyboard=True)
    assert max(picture.getpixel((2, 2))) < 40, "readable where the letters are bright"  # type: ignore[type-var]
    brightest = max(channel[1] for channel in picture.getextrema())  # type: ignore[index]
    assert brightest > 180
    for chart in page.locator(".stPlotlyChart").all():
        title, button = chart.locator(".gtitle").bounding_box(), chart.locator(".modebar-btn").bounding_box()
        assert title
        assert button
        assert title["x"] + title["width"] <= button["x"]
        assert button["x"] + button["width"] <= 390
    look(page, "compare-phone-dark")
    context.close()
