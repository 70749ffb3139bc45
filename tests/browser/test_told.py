"""The story of a run as its reader meets it: a file in a browser without a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.app import records
from tl_core.runs.finished import source_of
from tl_core.story.html import story

if TYPE_CHECKING:
    from playwright.sync_api import Browser

Axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="axe-core is not installed; make test installs it."
).Axe
pytestmark = pytest.mark.browser

INK = {"light": "rgb(15, 25, 20)", "dark": "rgb(228, 234, 230)"}
"""The colour of text, which only the style sheet gives."""


def test_the_story_opens_without_a_network_for_everybody(browser: Browser, tmp_path: Path) -> None:
    run = records.run(records.dataset(), mistakes=(0, 1, 4))
    file = tmp_path / "story.html"
    file.write_text(story(source_of(run)).html, encoding="utf-8")
    context = browser.new_context(offline=True)
    said: list[str] = []
    page = context.new_page()
    page.on("console", lambda message: said.append(message.text))
    page.on("request", lambda request: said.append(request.url[:100]) if "data:" not in request.url[:5] else None)
    for scheme, width in (("light", 1280), ("dark", 390)):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto(file.as_uri())
        assert page.evaluate("getComputedStyle(document.querySelector('h1')).color") == INK[scheme]
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth)")
        assert said == [file.as_uri()], "the file itself is all that is asked for"
        found = Axe().run(page).response["violations"]
        assert not found, [(each["id"], each["nodes"][0]["html"]) for each in found]
        said.clear()
    context.close()
