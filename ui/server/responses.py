"""What the guards share, and what they say to the browser beside Streamlit: short answers, headers, the HTML that it loads first."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import config
from streamlit.file_util import get_static_dir
from streamlit.source_util import page_icon_and_name

from ui import visitor

HEALTH = "/_stcore/health"
_SOURCES = {
    "default-src": "'self'",
    # Streamlit starts components from inline scripts and blobs. Without 'unsafe-eval' no page can be made to compile text.
    "script-src": "'self' 'unsafe-inline' 'wasm-unsafe-eval' blob:",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "media-src": "'self' data: blob:",
    # Streamlit's camera reads its own photo back from a data address, which leads nowhere else.
    "connect-src": "'self' data:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
}
_HUB = "https://huggingface.co https://*.hf.space"
# Without it, Streamlit's script asks below the page's own address first, and the browser's console shows two errors for it.
_ROOT = '<script>window.__streamlit = {BACKEND_BASE_URL: new URL(".", location.href).href}</script>'
_TITLE, _HEAD = "<title>Streamlit</title>", '<meta charset="UTF-8" />'


@dataclass(frozen=True)
class Guard:
    """Stands before the app and answers some requests in its place."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = None if scope["type"] == "lifespan" else await self.response(scope, receive)
        if response is None:
            await self.pass_on(scope, receive, send)
        elif scope["type"] == "http":
            await response(scope, receive, send)
        elif "websocket.http.response" in scope.get("extensions", {}):
            # Who asks for a WebSocket gets the status and the text alone.
            begin = {"status": response.status_code, "headers": response.raw_headers}
            await send({"type": "websocket.http.response.start", **begin})
            await send({"type": "websocket.http.response.body", "body": response.body})
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def response(self, scope: Scope, receive: Receive) -> Response | None:
        """The answer in place of the app's to a request, or to an attempt to open a WebSocket; None: the app is asked."""
        raise NotImplementedError

    async def pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app answer."""
        await self.app(scope, receive, send)


def path_of(scope: Scope) -> str:
    """The path below the app's base path, which a proxy may add."""
    base = "/" + (config.get_option("server.baseUrlPath") or "").strip("/")
    path: str = scope["path"]
    return path if base == "/" else "/" + path.removeprefix(base).lstrip("/")


def origin_of(scope: Scope) -> str | None:
    """Where a request comes from, as `visitor.origin` gives it."""
    client = scope.get("client")
    return visitor.origin(client[0] if client else None)


def header(scope: Scope, name: str) -> str | None:
    return HTTPConnection(scope).headers.get(name)


def asks_for_page(scope: Scope) -> bool:
    """Whether a browser asks for a page to show, and not for a file or a WebSocket."""
    return scope["type"] == "http" and "text/html" in (header(scope, "accept") or "")


def sentence(status: int, text: str, **headers: str) -> Response:
    """A refusal in plain words, which no cache keeps."""
    return PlainTextResponse(f"{text}\n", status, {"Cache-Control": "no-store", **headers})


@dataclass(frozen=True)
class ResponseHeaders:
    """Adds to every answer what pages may load, who may show them in a frame, and what may be kept or passed on."""

    app: ASGIApp
    on_space: bool
    """Whether the app is shown in the frame of a Hugging Face Space."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                # The address of a page holds the key to its workspace. With no-referrer a browser would not say that a form is of this site.
                headers["Referrer-Policy"] = "same-origin"
                headers["Content-Security-Policy"] = self.policy()
                if path_of(scope).startswith("/media/"):
                    headers["Cache-Control"] = "private, no-store"
            await send(message)

        await self.app(scope, receive, send_with_headers)

    def policy(self) -> str:
        frames = f"'self' {_HUB}" if self.on_space else "'self'"
        return "; ".join(f"{name} {value}" for name, value in {**_SOURCES, "frame-ancestors": frames}.items())


@dataclass(frozen=True)
class FirstPage(Guard):
    """Answers requests for the address of a page of the app."""

    entry: Path
    """The app's entry file, with the folder `pages` beside it."""

    async def response(self, scope: Scope, receive: Receive) -> Response | None:
        if (
            scope["type"] != "http"
            or scope["method"] not in ("GET", "HEAD")
            or path_of(scope) not in _paths(self.entry)
        ):
            return None
        return HTMLResponse(_page(), headers={"Cache-Control": "no-cache"})


@cache
def _paths(entry: Path) -> frozenset[str]:
    names = (page_icon_and_name(page)[1] for page in (entry.parent / "pages").glob("*.py"))
    return frozenset({"/", *(f"/{name}" for name in names)})


@cache
def _page() -> str:
    """Streamlit's page; one of another version, without the places that are looked for, stays as it is."""
    page = (Path(get_static_dir()) / "index.html").read_text(encoding="utf-8")
    return page.replace(_TITLE, "<title>Graft</title>").replace(_HEAD, f"{_HEAD}{_ROOT}")
