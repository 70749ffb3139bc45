"""Other ways through the app: a phone, the tour, two workspaces."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser.conftest import Look, idle, token
from tests.conftest import PictureFolder

if TYPE_CHECKING:
    from playwright.sync_api import Page

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed; make test installs it.").expect
pytestmark = pytest.mark.browser


_NOTE_CAMERA = """window.asked = [];
const get = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
navigator.mediaDevices.getUserMedia = asked => { window.asked.push(asked); return get(asked); };"""


def _fits(page: Page) -> bool:
    return bool(page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"))


def test_class_by_class_on_a_phone(phone: Page, address: str, picture_folder: PictureFolder, look: Look) -> None:
    folder = picture_folder({"cup": 6, "plate": 6}, size=(120, 90))
    phone.goto(address)
    phone.get_by_role("button", name="Use my pictures").click()
    phone.get_by_text("Class by class").click()
    for number, name in enumerate(("cup", "plate")):
        box = phone.get_by_label(re.compile("Name of the"))
        box.fill(name)
        box.press("Enter")
        phone.locator("input[type=file]").first.set_input_files(sorted((folder / name).glob("*.jpg")))
        phone.get_by_role("button", name=f"Add 6 photos as {name}").click()
        expect(phone.get_by_text("6 photos", exact=True)).to_have_count(number + 1)
        assert _fits(phone)
        if name == "cup":
            # A phone short of memory drops the page while the camera is open.
            phone.reload()
            expect(phone.get_by_text("6 photos", exact=True)).to_be_visible()
    look(phone, "phone-classes")
    phone.get_by_role("button", name="Read these pictures").click()
    expect(phone.get_by_text("12 pictures in 2 classes.")).to_be_visible()
    assert _fits(phone)
    look(phone, "phone-data")
    phone.get_by_role("button", name="Train on these").click()
    expect(phone.get_by_role("button", name="Start", exact=True)).to_be_visible()
    assert _fits(phone)
    look(phone, "phone-train")
    _another_strategy(phone, look)


def _another_strategy(phone: Page, look: Look) -> None:
    """Three decisions are on show; a fourth strategy is two taps away, and its picture and its settings fit the screen."""
    chosen = phone.get_by_role("button", name="Chosen")
    expect(phone.get_by_role("button", name="Choose", exact=True)).to_have_count(2)
    expect(phone.get_by_role("spinbutton")).to_have_count(0)
    phone.get_by_text("More strategies").click()
    phone.locator(".st-key-choose-lp_ft").get_by_role("button", name="Choose").click()
    expect(phone.locator(".st-key-choose-lp_ft").get_by_role("button", name="Chosen")).to_be_visible()
    expect(chosen).to_have_count(1)
    expect(phone.get_by_text("Fitted head, then whole network, from the first layers")).to_be_visible()
    expect(phone.locator("img.graft-tall")).to_be_visible()
    expect(phone.locator("img.graft-wide")).to_be_hidden()
    assert _fits(phone)
    phone.get_by_text("Advanced").click()
    expect(phone.get_by_role("spinbutton", name="Epochs")).to_be_visible()
    phone.get_by_role("tab", name="Rates").click()
    expect(phone.get_by_role("textbox", name="Learning rate of the head")).to_be_visible()
    assert _fits(phone)
    look(phone, "phone-train-lp-ft")
    phone.get_by_role("link", name="How do these differ").click()
    expect(phone.get_by_text("your case").or_(phone.get_by_text("yours, perhaps")).first).to_be_visible()
    assert _fits(phone)
    look(phone, "phone-ideas")


def test_a_folder_is_uploaded_with_its_tree(page: Page, address: str, picture_folder: PictureFolder) -> None:
    folder = picture_folder({"cup": 6, "plate": 7}, size=(120, 90))
    (folder / "notes.txt").write_text("stray")
    page.goto(address)
    page.get_by_role("button", name="Use my pictures").click()
    page.locator("input[webkitdirectory]").first.set_input_files(folder)
    expect(page.get_by_text("13 pictures in 2 classes.")).to_be_visible()
    expect(page.get_by_text("1 other file is no picture and is passed over.")).to_be_visible()


def test_three_clicks_from_home_to_a_classifier_and_the_tour(page: Page, address: str, look: Look) -> None:
    page.goto(address)
    look(page, "home-empty")
    page.get_by_role("button", name="Show me").click()
    for button in ("Next: train", "Next: how good is it?", "Next: try it"):
        following = page.get_by_role("button", name=button)
        expect(following).to_be_enabled()
        idle(page)
        look(page, f"tour-{button.split()[1]}")
        following.click()
    expect(page.get_by_text("Show me, 4 of 4.")).to_be_visible()
    # The visitor's own picture: the camera is on; where there is none, a test picture is one click away.
    expect(page.get_by_test_id("stCameraInput")).to_be_visible()
    page.get_by_role("button", name="Try three test pictures").click()
    expect(page.get_by_text("Never seen in training:").first).to_be_visible()
    look(page, "tour-end")
    page.get_by_role("button", name="Now with my pictures").click()
    expect(page.get_by_text("Show me")).to_have_count(0)


def test_two_clicks_from_an_empty_home_to_the_answer_to_a_photo(page: Page, address: str, look: Look) -> None:
    page.context.grant_permissions(["camera"])
    page.add_init_script(_NOTE_CAMERA)
    page.goto(address)
    page.get_by_role("button", name="Try it on a picture of yours").click()
    # Streamlit's button is there before the camera has sent a picture, and then takes none; and the picture is drawn too large at first.
    page.wait_for_function(
        """() => {
            const video = document.querySelector("video");
            return video?.videoHeight && video.clientWidth <= video.closest("[data-testid=stCameraInput]").clientWidth;
        }"""
    )
    # Were a width asked for, the camera would be started again when that of the page changes, and lose the photo that is taken meanwhile.
    asked = page.evaluate("() => window.asked.map(one => Object.keys(one.video))")
    assert asked
    assert all("width" not in one for one in asked)
    page.get_by_role("button", name="Take photo").click()
    # Beside the camera, so that nobody has to scroll for the answer to a photo.
    expect(page.get_by_role("heading", name="Answers")).to_be_in_viewport()
    expect(page.get_by_text("Try it. Your turn")).to_be_in_viewport()
    look(page, "try-it")


def test_a_new_private_workspace_sees_nothing_of_this_one(
    page: Page, address: str, picture_folder: PictureFolder
) -> None:
    page.goto(address)
    page.get_by_role("button", name="Use my pictures").click()
    page.locator("input[webkitdirectory]").first.set_input_files(picture_folder({"cup": 6, "plate": 6}))
    expect(page.get_by_role("button", name="Train on these")).to_be_visible()
    first = token(page)
    page.get_by_role("link", name="Graft").click()
    expect(page.get_by_role("heading", name="Your data sets")).to_be_visible()
    page.get_by_role("button", name="New private workspace").click()
    expect(page.get_by_role("heading", name="Your data sets")).to_have_count(0)
    assert token(page) != first
    page.goto(f"{address}/?workspace={first}")
    expect(page.get_by_role("heading", name="Your data sets")).to_be_visible()
    page.get_by_role("button", name="Copy my link").click()
    expect(page.get_by_text(f"{address}/?workspace={first}")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Delete everything here").click()
    page.get_by_role("button", name="Delete everything", exact=True).click()
    expect(page.get_by_role("heading", name="Your data sets")).to_have_count(0)
    assert token(page) == first


def test_rename_and_delete_a_data_set(page: Page, address: str, picture_folder: PictureFolder) -> None:
    page.goto(address)
    page.get_by_role("button", name="Use my pictures").click()
    page.locator("input[webkitdirectory]").first.set_input_files(picture_folder({"cup": 6, "plate": 6}))
    expect(page.get_by_role("button", name="Train on these")).to_be_visible()
    page.get_by_role("link", name="Graft").click()
    page.locator("[class*='st-key-menu-home'] button").first.click()
    page.get_by_text("Rename", exact=True).click()
    page.get_by_label("New name").fill("My <b>*china*</b>")
    page.get_by_role("dialog").get_by_role("button", name="Rename").click()
    expect(page.get_by_text("My <b>*china*</b>").first).to_be_visible()
    page.locator("[class*='st-key-menu-home'] button").first.click()
    page.get_by_text("Delete", exact=True).click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("heading", name="Your data sets")).to_have_count(0)


def test_photos_are_added_to_a_class_on_a_phone_and_a_folder_by_its_names(
    phone: Page, address: str, picture_folder: PictureFolder, tmp_path: Path, look: Look
) -> None:
    folder = picture_folder({"cup": 12, "plate": 12}, size=(120, 90))
    more = picture_folder({"cup": 3, "plate": 14, "bowl": 5}, size=(120, 90), root=tmp_path / "more")
    phone.goto(address)
    phone.get_by_role("button", name="Use my pictures").click()
    phone.locator("input[webkitdirectory]").first.set_input_files(folder)
    phone.get_by_role("button", name="Add to these").click()
    box = phone.get_by_label("Which class is on the photos?")
    box.fill("saucer")
    box.press("Enter")
    expect(phone.get_by_text("Photos of saucer")).to_be_visible()
    phone.locator("input[type=file]").first.set_input_files(sorted((more / "bowl").glob("*.jpg")))
    expect(phone.get_by_text("5 photos, a new class")).to_be_visible()
    assert _fits(phone)
    look(phone, "phone-adding")
    phone.get_by_role("button", name="Add 5 photos").click()
    expect(phone.get_by_text("24 as before, and 5 that were added: 5 of saucer, a new class.")).to_be_visible()
    expect(phone.get_by_role("combobox", name="Version")).to_have_value("Version 2: 5 pictures added, just now")
    assert _fits(phone)
    look(phone, "phone-added")
    phone.get_by_role("button", name="Add to these").click()
    phone.get_by_text("Folder or zip").click()
    phone.locator("input[webkitdirectory]").first.set_input_files(more)
    expect(
        phone.get_by_text("29 as before, and 7 that were added: 5 of bowl, a new class; 2 of plate.")
    ).to_be_visible()
    expect(phone.get_by_role("combobox", name="Version")).to_have_value("Version 3: 7 pictures added, just now")
