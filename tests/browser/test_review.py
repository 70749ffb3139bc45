"""Suspect labels and the map of pictures in a real browser: what only mouse and keyboard can do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.app import records
from tests.browser.conftest import Look, idle, serving
from tl_core.documents.manifest import Remedies
from tl_core.documents.report import Growth, Lookalikes, SuspectLabel
from tl_core.documents.tasks import LabelReview, LabelReviewSpec, PictureMap, PictureMapSpec

if TYPE_CHECKING:
    from playwright.sync_api import Page

expect = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed; make test installs it.").expect
pytestmark = pytest.mark.browser


def test_suspects_are_decided_by_keyboard_and_stay_decided(page: Page, store: Path, look: Look) -> None:
    data = records.dataset(classes=("cup", "plate"))
    rows = (3, 25, 7)
    suspects = tuple(
        SuspectLabel(
            row=row, label=row // 20, suggested=1 - row // 20, label_probability=0.01, suggested_probability=0.9
        )
        for row in rows
    )
    review = LabelReview(
        accuracy=0.9,
        suspects=suspects,
        lookalikes=(Lookalikes(of_label=(1, 2), of_suggested=(30, 31)),) * 3,
        growth=Growth(sizes=(10, 20), accuracies=(0.7, 0.84), twice=0.91, interval=(0.88, 0.93), photograph=None),
    )
    records.asked(LabelReviewSpec(workspace=records.TOKEN, dataset=data.id), review)
    with serving(store) as address:
        page.goto(f"{address}/Data?workspace={records.TOKEN}&dataset={data.id}")
        for number, key in enumerate(("m", "k", "x"), 1):
            expect(page.get_by_text(f"{number - 1} of 3 pictures decided")).to_be_visible()
            idle(page)
            page.keyboard.press(key)
        expect(page.get_by_text("3 of 3 pictures decided")).to_be_visible()
        files = [data.manifest().images[row].file for row in rows]
        assert data.versions.gathered() == Remedies(move={files[0]: "plate"}, keep=(files[1],), leave_out=(files[2],))
        page.reload()
        expect(page.get_by_text("3 of 3 pictures decided")).to_be_visible()
        expect(page.get_by_role("button", name="Keep as cup")).to_be_visible()
        idle(page)
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("button", name="Keep as plate")).to_be_visible()
        look(page, "review")


def test_pictures_around_which_one_draws_are_shown_and_taken_to_the_review(page: Page, store: Path, look: Look) -> None:
    data = records.dataset(classes=("cup", "plate"))
    drawn = PictureMap(
        rows=tuple(range(40)),
        x=tuple(float(row % 20) for row in range(40)),
        y=tuple(float(row // 20) for row in range(40)),
        other=tuple(1 - row // 20 for row in range(40)),
        lookalikes=(Lookalikes(of_label=(1, 2), of_suggested=(30,)),) * 40,
    )
    records.asked(PictureMapSpec(workspace=records.TOKEN, dataset=data.id), drawn)
    with serving(store) as address:
        page.goto(f"{address}/Data?workspace={records.TOKEN}&dataset={data.id}")
        page.get_by_text("A map of the pictures").click()
        expect(page.get_by_text("Draw around some dots")).to_be_visible()
        idle(page)
        dots = page.locator(".js-plotly-plot").last.locator(".nsewdrag")
        dots.scroll_into_view_if_needed()
        place = dots.bounding_box()
        assert place is not None
        corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.3), (0.5, 0.4), (0.02, 0.3), (0.02, 0.02)]
        at = [(place["x"] + right * place["width"], place["y"] + down * place["height"]) for right, down in corners]
        page.mouse.move(*at[0])
        page.mouse.down()
        for x, y in at[1:]:
            page.mouse.move(x, y, steps=4)
        page.mouse.up()
        expect(page.get_by_text("20 pictures selected")).to_be_visible()
        look(page, "map")
        page.get_by_role("button", name="Review 20 pictures").click()
        expect(page.get_by_text("0 of 20 pictures decided")).to_be_visible()
        expect(page.get_by_role("button", name="Keep as plate")).to_be_visible()
