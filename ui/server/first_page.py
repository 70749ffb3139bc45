"""The HTML that a browser loads first: Streamlit's own, with the app's name, and with what says where the app's root is."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from starlette.responses import HTMLResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit.file_util import get_static_dir
from streamlit.source_util import page_icon_and_name

from ui.server.refusing import path_of

# Without it, Streamlit's script asks below the page's own address first, and the browser's console shows two errors for it.
_ROOT = '<script>window.__streamlit = {BACKEND_BASE_URL: new URL(".", location.href).href}</script>'
_TITLE, _HEAD = "<title>Streamlit</title>", '<meta charset="UTF-8" />'


class FirstPage:
    """Answers requests for the address of a page of the app.

    `entry` is the app's entry file, with the folder `pages` beside it.
    """

    def __init__(self, app: ASGIApp, *, entry: Path) -> None:
        self.app = app
        names = (page_icon_and_name(page)[1] for page in (entry.parent / "pages").glob("*.py"))
        self._paths = {"/", *(f"/{name}" for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = scope["type"] == "http" and scope["method"] in ("GET", "HEAD") and path_of(scope) in self._paths
        answer = HTMLResponse(_page(), headers={"Cache-Control": "no-cache"}) if asked else self.app
        await answer(scope, receive, send)


@cache
def _page() -> str:
    """Streamlit's page; one of another version, without the places that are looked for, stays as it is."""
    page = (Path(get_static_dir()) / "index.html").read_text(encoding="utf-8")
    return page.replace(_TITLE, "<title>Graft</title>").replace(_HEAD, f"{_HEAD}{_ROOT}")
