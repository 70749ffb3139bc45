"""A talk: slides by keys and by thumb, and what becomes of them when the server is gone in the middle."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.app import records
from tests.browser.conftest import idle, serving

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

Axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="make test installs axe-core.").Axe
expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed; make test installs it.").expect
pytestmark = pytest.mark.browser


def _started(page: Page, address: str) -> None:
    page.goto(address)
    idle(page)
    page.get_by_role("button", name="Start the slides").click()
    expect(page.locator("dialog .number")).to_have_text("1 / 5")


def _for_everybody(page: Page) -> None:
    """No grave violation that axe-core knows on pictures, which are higher than the screen, and on the matrix."""
    for key in ("PageDown", "PageDown", "PageDown"):
        page.keyboard.press(key)
        found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
        assert not [one for one in found if one["impact"] in ("serious", "critical")], found
    page.keyboard.press("Home")


def _on_top(page: Page) -> bool:
    """Whether a slide is what a finger would touch in the middle of the screen."""
    return bool(
        page.evaluate(
            "() => { let found = document.elementFromPoint(innerWidth / 2, innerHeight / 2);"
            "while (found.shadowRoot) found = found.shadowRoot.elementFromPoint(innerWidth / 2, innerHeight / 2);"
            "return Boolean(found.closest('dialog')) }"
        )
    )


def test_a_talk_by_keys_and_by_thumb_goes_on_when_the_server_is_gone(store: Path, page: Page, phone: Page) -> None:
    where = records.workspace()
    records.run(records.dataset(each=40), mistakes=(0, 1, 7))
    broken: list[str] = []
    page.on("pageerror", lambda error: broken.append(str(error)))
    with serving(store) as address:
        for window in (page, phone):
            _started(window, f"{address}/Present?workspace={where.token}")
        assert page.evaluate("() => Boolean(document.fullscreenElement)")
        _for_everybody(phone)
        _space_after_a_click(page)
        buttons = page.locator("dialog").get_by_role("button").all()
        assert [button.text_content() for button in buttons] == ["End", "Leave full screen", "◀", "▶"]
    # Streamlit says that its server is gone, beneath the slides.
    page.locator("[data-testid=stDialog]").wait_for(state="attached")
    _by_keys(page)
    assert _on_top(page)
    _by_thumb(phone)
    for key in ("Tab", "Tab", "Tab", "Enter"):
        page.keyboard.press(key)
    expect(page.locator("dialog").get_by_role("button", name="Full screen", exact=True)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("dialog.deck")).to_be_hidden()
    assert not broken


def _space_after_a_click(page: Page) -> None:
    """The button that was clicked does not take the space bar from the slides."""
    for which, place in (("Next", 2), ("Previous", 1)):
        page.locator("dialog").get_by_role("button", name=f"{which} slide").click()
        expect(page.locator("dialog .number")).to_have_text(f"{place} / 5")
    for key, place in ((" ", 2), ("Shift+ ", 1)):
        page.keyboard.press(key)
        expect(page.locator("dialog .number")).to_have_text(f"{place} / 5")


def _by_keys(page: Page) -> None:
    for key, place, title in (
        ("ArrowRight", 2, "It is right: 15 of 18 test pictures"),
        ("PageDown", 3, "It is wrong: 3 of 18 test pictures"),
        (" ", 4, "2 of 3 mistakes: “cup” called “plate”"),
        ("PageUp", 3, "It is wrong: 3 of 18 test pictures"),
        ("ArrowLeft", 2, "It is right: 15 of 18 test pictures"),
        ("End", 5, "What it cannot do"),
        ("ArrowRight", 5, "What it cannot do"),
        ("F5", 5, "What it cannot do"),
        ("Home", 1, "83\u202f% right on 18 pictures it had never seen (61 to 94\u202f%)"),
        ("ArrowRight", 2, "It is right: 15 of 18 test pictures"),
    ):
        page.keyboard.press(key)
        expect(page.locator("dialog h2:visible")).to_have_text(title)
        expect(page.locator("dialog .number")).to_have_text(f"{place} / 5")
        expect(page.locator("dialog [aria-live]")).to_have_text(f"Slide {place} of 5: {title}")
    images = page.locator("dialog section:not([hidden]) img")
    expect(images).to_have_count(6)
    assert images.evaluate_all("all => all.every(image => image.complete && image.naturalWidth > 0 && image.alt)")


def _by_thumb(phone: Page) -> None:
    on, back = (phone.get_by_role("button", name=f"{which} slide") for which in ("Next", "Previous"))
    slide = phone.locator("dialog section:not([hidden])")
    for place in range(1, 6):
        expect(phone.locator("dialog .number")).to_have_text(f"{place} / 5")
        assert slide.evaluate("slide => slide.scrollWidth - slide.clientWidth") <= 0, f"slide {place} is too wide"
        if place == 2:
            _on_its_side(phone)
        if place < 5:
            _tap(phone, on)
    expect(on).to_have_attribute("aria-disabled", "true")
    _tap(phone, back)
    for swipe, place in (((300, -200, 10), 5), ((100, 200, 20), 4), ((100, 200, 150), 4), ((100, 30, 0), 4)):
        _swipe(phone, *swipe)
        expect(phone.locator("dialog .number")).to_have_text(f"{place} / 5")


def _swipe(phone: Page, start: int, across: int, along: int) -> None:
    """One finger on the slide, from `start` pixels of its width on."""
    touch = phone.context.new_cdp_session(phone)
    for kind, points in (
        ("touchStart", [{"x": start, "y": 300}]),
        ("touchMove", [{"x": start + across, "y": 300 + along}]),
        ("touchEnd", []),
    ):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
    touch.detach()


def _on_its_side(phone: Page) -> None:
    """Pictures keep a size at which they are seen; the slide is scrolled."""
    phone.set_viewport_size({"width": 844, "height": 390})
    images = phone.locator("dialog section:not([hidden]) img")
    assert images.evaluate_all("all => Math.min(...all.map(image => image.getBoundingClientRect().height))") > 100
    phone.set_viewport_size({"width": 390, "height": 844})


def _tap(phone: Page, button: Locator) -> None:
    """Touch the middle of a button, which must be large enough for a thumb and on the screen.

    Playwright's own tap takes it for one that cannot be used: Streamlit has made all of the page inert, which a modal dialog is not subject to.
    """
    box = button.bounding_box()
    assert box is not None
    assert min(box["width"], box["height"]) >= 44
    assert box["x"] + box["width"] <= 390
    phone.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
