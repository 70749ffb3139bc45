"""The main job in a real browser: from a zip of pictures to an answer on a new one."""

from __future__ import annotations

import re
import shutil
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Look, idle, token
from tests.conftest import PictureFolder, picture

if TYPE_CHECKING:
    from playwright.sync_api import Page

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed; make test installs it.").expect
pytestmark = pytest.mark.browser


@pytest.fixture
def packed(picture_folder: PictureFolder, tmp_path: Path) -> Path:
    folder = picture_folder({"cup": 14, "plate": 14, "bowl": 14}, size=(240, 180))
    (folder / "cup" / "broken.jpg").write_bytes(b"this is no picture")
    return Path(shutil.make_archive(str(tmp_path / "crockery"), "zip", folder))


def test_from_a_zip_to_an_answer(page: Page, address: str, packed: Path, look: Look, tmp_path: Path) -> None:
    assert zipfile.is_zipfile(packed)
    page.goto(address)
    page.get_by_role("button", name="Use my pictures").click()
    page.locator("input[type=file]").last.set_input_files(packed)
    train = page.get_by_role("button", name="Train on these")
    expect(train).to_be_visible()
    expect(page.get_by_text("42 pictures in 3 classes.")).to_be_visible()
    expect(page.get_by_text("1 file is refused")).to_be_visible()
    mine = token(page)
    idle(page)
    look(page, "story-data")

    train.click()
    page.get_by_role("button", name="Choose").first.click()
    page.get_by_text("Advanced").click()
    epochs = page.get_by_role("spinbutton", name="Epochs")
    epochs.fill("40")
    epochs.press("Enter")
    idle(page)
    look(page, "story-train")
    page.get_by_role("button", name="Start", exact=True).dblclick()
    # The curve grows while it learns, and a reload in the middle brings it back.
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    epoch = page.get_by_text(re.compile(r"^[2-9] of 40$")).first
    expect(epoch).to_be_visible()
    look(page, "story-live")
    page.reload()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    assert token(page) == mine
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("It was cancelled")).to_be_visible()
    look(page, "story-cancelled")
    page.locator(".st-key-finish-best button").click()
    headline = page.get_by_text(re.compile(r"right on \d+ pictures it had never seen")).first
    expect(headline).to_be_visible()

    # One start, though it was clicked twice.
    page.get_by_role("link", name="Graft").click()
    expect(page.get_by_role("heading", name="Your runs")).to_be_visible()
    expect(page.get_by_role("button", name="Evaluate", exact=True)).to_have_count(1)

    # As it is proposed, the last layer alone learns.
    page.get_by_role("link", name="Train").click()
    start = page.get_by_role("button", name="Start", exact=True)
    expect(start).to_be_visible()
    idle(page)
    before = page.url
    start.click()
    page.wait_for_url(lambda url: url != before)
    # Until the page is drawn, the button of the run before is still on it.
    idle(page)
    evaluate = page.get_by_role("button", name="Evaluate", exact=True)
    expect(evaluate).to_be_visible()
    look(page, "story-trained")
    evaluate.click()
    expect(page.get_by_text("The pictures behind a cell")).to_be_visible()
    idle(page)
    _click_cell(page, "plate", "plate")
    expect(page.get_by_text(re.compile("pictures? of plate, and rightly called that"))).to_be_visible()
    look(page, "story-evaluate")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the bundle").click()
    with zipfile.ZipFile(download.value.path()) as bundle:
        assert any(name.endswith("model.onnx") for name in bundle.namelist())

    page.get_by_role("link", name="Predict").click()
    new = tmp_path / "new.jpg"
    picture(0, 999, (240, 180)).save(new)
    page.locator("input[type=file]").first.set_input_files(new)
    expect(page.get_by_role("heading", name="cup")).to_be_visible()
    # Then the uploader has let go of it, and only the answer bears its name.
    expect(page.get_by_test_id("stFileChipName")).to_have_count(0)
    expect(page.get_by_text("new.jpg")).to_be_visible()
    look(page, "story-predict")
    page.reload()
    expect(page.get_by_role("link", name="Evaluate")).to_be_visible()
    assert token(page) == mine
    with page.context.expect_page() as opened:
        page.get_by_role("link", name="Evaluate").click(button="middle")
    expect(opened.value.get_by_text("The pictures behind a cell")).to_be_visible()
    assert token(opened.value) == mine


def _click_cell(page: Page, truth: str, said: str) -> None:
    """Click a cell off its middle, found by the names on the two axes."""
    chart = page.locator(".js-plotly-plot").first
    chart.scroll_into_view_if_needed()
    row = chart.locator(".ytick text", has_text=re.compile(f"^{truth}$")).bounding_box()
    column = chart.locator(".xtick text", has_text=re.compile(f"^{said}$")).bounding_box()
    assert row is not None
    assert column is not None
    x, y = column["x"] + column["width"] / 2 + 30, row["y"] + row["height"] / 2 + 30
    page.mouse.move(x - 3, y - 3)
    page.mouse.move(x, y)
    expect(chart.locator(".hoverlayer")).to_contain_text(f"{truth}, called {said}")
    page.mouse.click(x, y)
