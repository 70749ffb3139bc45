"""Every page of the app in the states that a user meets, for tests that go through all of them.

The workspace is put together without any training. It is made once for all tests that ask for `furnished`.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from tests.app import records
from tests.browser.conftest import idle, serving
from tests.conftest import lend
from tests.serving.conftest import WEIGHT, backbone_graph, bundle_info
from tl_core import locks
from tl_core.documents.manifest import SplitRecord
from tl_core.models.graphs.edit import attach_head
from tl_core.serving.bundle import write_bundle
from tl_core.serving.bundle_files import MODEL_CARD

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CLASSES = ("red", "blue", "green")
"""The colours of the pictures of `records.dataset`, in its order."""
EMPTY = "e" * 32
"""Token of a workspace with nothing in it."""
_STILL = """*, *::before, *::after { transition: none !important; animation: none !important }
[data-stale=true], details, summary, [role=tablist], [role=tab] { opacity: 1 !important }
html { overflow: visible !important }"""
"""Style for a page that is looked at: without it, colours of another theme and of parts that are drawn again fade meanwhile, and
axe-core passes over the text of a dialog, which lies outside of a root element that is cut off without a height."""
_OPEN_ALL = """() => {
    const closed = [...document.querySelectorAll("details:not([open]) > summary")];
    closed.forEach(summary => summary.click());
    return closed.length;
}"""


@dataclass(frozen=True)
class Visit:
    """A page in one state."""

    path: str
    """With the names of jobs in braces, which `Furnished.at` replaces by their ids."""
    reach: Callable[[Page], None] = lambda page: None
    """What a user does there to see the state."""


def _press(name: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("button", name=name).first.click()


def _choose(name: str) -> Callable[[Page], None]:
    return lambda page: page.get_by_role("radio", name=name).click()


def _answers(page: Page) -> None:
    page.get_by_role("button", name="Try three test pictures").click()
    page.get_by_text("Never seen in training").first.wait_for()


def _why(page: Page) -> None:
    page.get_by_role("button", name="Why?").first.click()
    page.get_by_role("dialog").get_by_text("The most similar pictures").wait_for()


def _delete(page: Page) -> None:
    page.locator("[class*='st-key-menu-home'] button").first.click()
    page.get_by_text("Delete", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Delete it").wait_for()


def _asked_for_the_camera(page: Page) -> None:
    # As long as nobody answers the browser's question, this is what is seen.
    page.evaluate("() => { navigator.mediaDevices.getUserMedia = () => new Promise(() => {}); }")
    page.get_by_role("button", name="Rehearse").click()
    page.get_by_role("button", name="Go on without the camera").wait_for()


def _rehearsed(page: Page) -> None:
    _asked_for_the_camera(page)
    page.get_by_role("button", name="Go on without the camera").click()
    page.get_by_role("button", name="Rehearse again").wait_for()


def _story(page: Page) -> None:
    page.get_by_role("button", name="Tell the story").click()
    page.get_by_role("button", name="Download the story").wait_for()


def _slides(page: Page) -> None:
    page.get_by_role("button", name="Start the slides").click()
    # Of a window that fills the screen nobody can set the width.
    page.get_by_role("button", name="Leave full screen").click()
    page.get_by_role("button", name="Full screen", exact=True).wait_for()


VISITS = {
    "Home, empty": Visit("/?workspace={empty}"),
    "Home": Visit("/?workspace={workspace}"),
    "Home, asked to delete": Visit("/?workspace={workspace}", _delete),
    "Home, before a rehearsal": Visit("/?workspace={workspace}", _asked_for_the_camera),
    "Home, after a rehearsal": Visit("/?workspace={empty}", _rehearsed),
    "Data": Visit("/Data?workspace={workspace}&dataset={dataset}"),
    "Data, a folder": Visit("/Data?workspace={empty}"),
    "Data, class by class": Visit("/Data?workspace={empty}", _choose("Class by class")),
    "Data, a sample": Visit("/Data?workspace={empty}", _choose("Samples")),
    "Data, while it is read": Visit("/Data?workspace={workspace}&dataset={reading}"),
    "Train": Visit("/Train?workspace={only_pictures}"),
    "Train, at work": Visit("/Train?workspace={workspace}&run={training}"),
    "Train, after a run": Visit("/Train?workspace={workspace}&run={stages}"),
    "Evaluate": Visit("/Evaluate?workspace={workspace}&run={head}"),
    "Evaluate, without a run": Visit("/Evaluate?workspace={only_pictures}"),
    "Evaluate, why it says so": Visit("/Evaluate?workspace={workspace}&run={head}", _why),
    "Evaluate, the story": Visit("/Evaluate?workspace={workspace}&run={head}", _story),
    "Predict": Visit("/Predict?workspace={workspace}&run={head}"),
    "Predict, with answers": Visit("/Predict?workspace={workspace}&run={head}", _answers),
    "Compare": Visit("/Compare?workspace={workspace}"),
    "Ideas": Visit("/Ideas?workspace={workspace}"),
    "Present": Visit("/Present?workspace={workspace}&run={head}"),
    "Present, the slides": Visit("/Present?workspace={workspace}&run={head}", _slides),
}
"""What tests go through, by a name that says where and when."""
_USUAL = {
    *("Home, empty", "Home", "Data", "Data, class by class", "Train", "Evaluate", "Evaluate, why it says so"),
    *("Predict, with answers", "Compare", "Ideas", "Present, the slides"),
}
"""Each page in the state that most people see; the other states are gone through in `make test-all`."""
EACH_VISIT = [pytest.param(name, marks=() if name in _USUAL else pytest.mark.slow) for name in VISITS]
"""The names of `VISITS`, as parameters of a test."""


@dataclass(frozen=True)
class Furnished:
    """An app that serves a workspace in which every page has something to show."""

    address: str
    ids: dict[str, str]

    def open(self, page: Page, visit: Visit) -> None:
        """Open the page, bring it into its state and unfold what is folded."""
        page.goto(self.address + visit.path.format(**self.ids))
        page.add_style_tag(content=_STILL)
        page.locator("h1").wait_for()
        idle(page)
        visit.reach(page)
        idle(page)
        if not page.get_by_role("dialog").count():
            # What was unfolded may hold something folded.
            while page.evaluate(_OPEN_ALL):
                idle(page)


@pytest.fixture(scope="session")
def furnished(
    browser: Browser, exported: Callable[[int], Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Furnished]:
    del browser  # asked for first, so that no server starts where there is none
    folder = tmp_path_factory.mktemp("furnished")
    # As `make app` leaves a store: without it, Train lists no parameters.
    lend(exported(224), folder / "store" / "cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRAFT_STORE", str(folder / "store"))
        with _furnish(folder) as ids, serving(folder / "store") as address:
            yield Furnished(address, ids)


@contextmanager
def _furnish(folder: Path) -> Iterator[dict[str, str]]:
    """Fill the store, and hold the locks of the jobs that are at work; the ids by the names that `VISITS` uses."""
    where = records.workspace()
    data = records.dataset(name="Colours", classes=CLASSES, each=40)
    head = records.run(data, name="Colours", mistakes=(0, 1, 8))
    stages = records.run(data, name="Colours", strategy="full_fine_tuning", mistakes=(8,))
    for run in (head, stages):
        shutil.rmtree(run.bundle)
        _bundle(run.bundle, folder / run.id)
    training = records.run(data, name="Colours", state="running", strategy="full_fine_tuning")
    reading = records.dataset(name="More colours", classes=CLASSES, each=2)
    (reading.path / "manifest.json").unlink()
    records._end(reading.path, records.Status(state="running", started=1.0))
    alone = records.Store.default().workspace("a" * 32)
    records.dataset(alone, name="Colours", classes=CLASSES)
    held = [lock for lock in (locks.take(training.lock), locks.take(reading.lock)) if lock is not None]
    try:
        yield {
            "workspace": where.token,
            "only_pictures": alone.token,
            "empty": EMPTY,
            **{name: job.id for name, job in (("dataset", data), ("reading", reading))},
            **{name: run.id for name, run in (("head", head), ("stages", stages), ("training", training))},
        }
    finally:
        locks.release(held)


def _bundle(folder: Path, scratch: Path) -> None:
    """A bundle whose network tells the colours apart."""
    scratch.mkdir()
    onnx.save(backbone_graph(), scratch / "backbone.onnx")
    weight, bias = WEIGHT[[0, 2, 1]], np.zeros(3, np.float32)
    attach_head(scratch / "backbone.onnx", weight, bias, scratch / "whole.onnx")
    write_bundle(
        folder,
        info=bundle_info(name="Colours", classes=CLASSES),
        split=SplitRecord(parts={}),
        onnx=scratch / "whole.onnx",
        tensors={"fc.weight": weight, "fc.bias": bias},
    )
    (folder / MODEL_CARD).write_text("# Colours\n")
