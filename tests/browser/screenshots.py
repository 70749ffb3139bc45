"""The pictures of README, taken of the app as it is: `python -m tests.browser.screenshots [FOLDER]`, about two minutes.

A server with a store of its own reads the rendered sample of tableware, trains on it, and is gone through in Debian's
Chromium. Every picture is taken once the page has settled; it is written as a WebP, in which letters stay sharp and photographs small.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from tests.browser.conftest import ROOT, idle, opened, serving
from tests.conftest import PATIENCE
from tl_core.errors import GraftError

if TYPE_CHECKING:
    from playwright.sync_api import FloatRect, Locator, Page

FOLDER = ROOT / "docs" / "images"
WIDE, PHONE = 1280, 390
MENU, MARGIN = 56, 12
"""Pixels above the line of steps, and below the last thing that is shown."""
LARGEST = 150_000
"""Bytes of one picture, which everybody who opens README downloads."""
QUALITY = 88
_SETTLED = """() => {
    const boxes = [...document.querySelectorAll('img, .main-svg')].map(shape => shape.getBoundingClientRect());
    const seen = JSON.stringify(boxes);
    window.frames_alike = seen === window.last_seen ? window.frames_alike + 1 : 0;
    window.last_seen = seen;
    return window.frames_alike > 30
        && document.fonts.status === 'loaded'
        && [...document.images].every(image => image.complete)
        && !document.querySelector('[data-testid=stSkeleton], [data-stale=true], [data-testid=stTooltipContent], [data-testid=stToast]');
}"""
"""Asked at every frame: whether everything is drawn, no message lies over it, and pictures and charts have kept their places for 30 frames."""


def take(page: Page, file: Path, width: int, *, until: Locator) -> None:
    """Write what a window of `width` pixels shows of the settled page, from under its menu down to the end of `until`."""
    page.set_viewport_size({"width": width, "height": 2000})
    settle(page)
    box = until.bounding_box()
    assert box is not None
    clip: FloatRect = {"x": 0, "y": MENU, "width": width, "height": box["y"] + box["height"] + MARGIN - MENU}
    with Image.open(io.BytesIO(page.screenshot(clip=clip, animations="disabled"))) as picture:
        picture.convert("RGB").save(file, quality=QUALITY, method=6)
    if file.stat().st_size > LARGEST:
        raise GraftError(f"{file} takes {file.stat().st_size:,} bytes, more than {LARGEST:,}: show less of the page.")


def settle(page: Page) -> None:
    """Wait until the script has run to its end and everything that it drew stands."""
    page.mouse.move(0, 0)
    page.evaluate("() => document.activeElement.blur()")  # a button in focus, or under the mouse, shows its help
    idle(page)
    page.wait_for_function(_SETTLED)


def change(page: Page, option: str, value: int) -> None:
    """Type another value of an option into its field under Advanced."""
    settle(page)
    field = page.locator(f".st-key-set-{option} input")
    if not field.is_visible():
        page.get_by_text("Advanced").click()
    field.fill(str(value))
    field.press("Enter")
    settle(page)


def tour(page: Page, address: str, folder: Path) -> None:
    """Read the sample, train twice, and take a picture of every step."""
    page.goto(address)
    first = page.get_by_role("button", name="Try it on a picture of yours")
    first.wait_for()
    take(page, folder / "first.webp", WIDE, until=page.get_by_text("Use it", exact=True))
    page.get_by_role("button", name="Use my pictures").click()
    page.get_by_text("Samples", exact=True).click()
    page.locator(".st-key-sample-tableware button").click()
    train = page.get_by_role("button", name="Train on these")
    train.wait_for()
    take(page, folder / "data.webp", WIDE, until=page.get_by_alt_text("pictures of wine glass"))

    train.click()
    start = page.get_by_role("button", name="Start", exact=True)
    start.wait_for()
    start.click()
    page.locator(".st-key-to-evaluate").wait_for()
    settle(page)
    card = page.locator(".st-key-choose-partial_fine_tuning")
    # Not by the mouse: the help that it calls up would stay, because the button under it changes.
    card.get_by_role("button", name="Choose").dispatch_event("click")
    card.get_by_role("button", name="Chosen").wait_for()
    change(page, "epochs", 12)  # so many that it is still at work when its picture is taken
    start.click()
    page.get_by_text(re.compile(r"^[5-9] of 12$")).first.wait_for()
    take(page, folder / "train.webp", WIDE, until=page.locator(".st-key-live"))
    page.get_by_role("button", name="Cancel").click()
    page.locator(".st-key-finish-best button").click()
    page.locator(".st-key-to-evaluate button").click()

    page.get_by_text("The pictures behind a cell").wait_for()
    take(page, folder / "evaluate.webp", WIDE, until=page.get_by_text("Green: right."))
    page.get_by_role("link", name="Predict").click()
    page.get_by_role("button", name="Try three test pictures").click()
    page.get_by_text("Never seen in training").first.wait_for()
    bars = page.locator(".graft-bars")
    take(page, folder / "predict.webp", WIDE, until=bars.last)
    take(page, folder / "phone.webp", PHONE, until=bars.first)
    page.get_by_role("link", name="Graft").click()
    page.get_by_role("heading", name="Your runs").wait_for()
    take(page, folder / "home.webp", WIDE, until=page.get_by_text("Graft 0."))


def main(folder: Path = FOLDER) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as store, serving(Path(store) / "store") as address, opened() as chromium:
        context = chromium.new_context(color_scheme="light")
        context.set_default_timeout(PATIENCE * 1000)
        tour(context.new_page(), address, folder)
    for file in sorted(folder.glob("*.webp")):
        print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
