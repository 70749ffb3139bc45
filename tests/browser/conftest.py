"""The app as a user meets it: a server of its own on a store of its own, and Debian's Chromium.

With SCREENSHOTS_INTO=FOLDER every `look` leaves a picture there, to be judged by eye.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.conftest import PATIENCE, lend, until

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
ROOT = Path(__file__).parents[2]
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A camera that no machine needs to have; a page gets it where its context has the permission.
    "--use-fake-device-for-media-stream",
    # The stand-in for the hub is a public page to Chromium, and the app in its frame a private one.
    "--disable-features=LocalNetworkAccessChecks,BlockInsecurePrivateNetworkRequests",
]
Look = Callable[["Page", str], None]
_IDLE = "body:has([data-test-script-state=notRunning]):not(:has([data-testid=stSkeleton]))"


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def serving(store: Path, port: int | None = None, **environment: str) -> Iterator[str]:
    """The app's address, while it runs."""
    port = port or free_port()
    store.parent.mkdir(parents=True, exist_ok=True)
    log = (store.parent / "server.log").open("wb")
    # The one variable that is the tests' and no setting of Graft.
    kept = {name: value for name, value in os.environ.items() if name != "GRAFT_SCREENSHOTS"}
    server = subprocess.Popen(
        [sys.executable, "-m", "tl_core", "app", "--port", str(port)],
        cwd=ROOT,
        env={**kept, "GRAFT_STORE": str(store), **environment},
        stdout=log,
        stderr=log,
    )
    address = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _healthy(address, server, store.parent / "server.log"))
        yield address
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE)
        log.close()


def _healthy(address: str, server: subprocess.Popen[bytes], log: Path) -> bool:
    assert server.poll() is None, log.read_text()
    try:
        return bool(urllib.request.urlopen(f"{address}/_stcore/health", timeout=PATIENCE).status == 200)
    except OSError:
        return False


@pytest.fixture(scope="session")
def served_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The store of the app at `address`."""
    return tmp_path_factory.mktemp("app") / "store"


@pytest.fixture(scope="session")
def address(browser: Browser, exported: Callable[[int], Path], served_store: Path) -> Iterator[str]:
    """An app whose backbone was exported before it was started, as `make app` does."""
    del browser  # asked for first, so that no server starts where there is none
    lend(exported(224), served_store / "cache")
    with serving(served_store) as url:
        yield url


@contextmanager
def opened() -> Iterator[Browser]:
    """Debian's Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip("There is no Chromium here: apt-get install chromium.")
    library = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed; make test installs it.")
    library.expect.set_options(timeout=PATIENCE * 1000)
    with opened() as chromium:
        yield chromium


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(PATIENCE * 1000)
    yield context.new_page()
    context.close()


@pytest.fixture
def phone(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    context.set_default_timeout(PATIENCE * 1000)
    yield context.new_page()
    context.close()


@pytest.fixture
def look() -> Look:
    """`look(page, name)` keeps a picture of the whole page where SCREENSHOTS_INTO says, else does nothing."""
    folder = os.environ.get("SCREENSHOTS_INTO")

    def keep(page: Page, name: str) -> None:
        if folder:
            width = page.viewport_size["width"] if page.viewport_size else 1280
            height = page.evaluate("() => document.querySelector('[data-testid=stMain]').scrollHeight")
            page.set_viewport_size({"width": width, "height": min(max(height, 600), 4000)})
            idle(page)
            page.wait_for_timeout(600)
            page.screenshot(path=str(Path(folder) / f"{name}.png"))
            page.set_viewport_size({"width": width, "height": 900})

    return keep


def idle(page: Page) -> None:
    """Wait until the script has run to its end, and no part of the page still waits for the code that draws it."""
    page.wait_for_selector(_IDLE, state="attached", timeout=PATIENCE * 1000)


def token(page: Page) -> str:
    """The token of the workspace, from the page's address."""
    from urllib.parse import parse_qs, urlsplit

    return parse_qs(urlsplit(page.url).query)["workspace"][0]
