"""Short answers of the server itself, to a request or to an attempt to open a WebSocket."""

from __future__ import annotations

from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send
from streamlit import config

HEALTH = "/_stcore/health"


def path_of(scope: Scope) -> str:
    """The path below the app's base path, which a proxy may add."""
    base = "/" + (config.get_option("server.baseUrlPath") or "").strip("/")
    path: str = scope["path"]
    return path if base == "/" else "/" + path.removeprefix(base).lstrip("/")


async def give(response: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with `response` instead of the app. Who asks for a WebSocket gets its status and its text alone."""
    if scope["type"] == "http":
        await response(scope, receive, send)
    elif "websocket.http.response" in scope.get("extensions", {}):
        await send(
            {"type": "websocket.http.response.start", "status": response.status_code, "headers": response.raw_headers}
        )
        await send({"type": "websocket.http.response.body", "body": response.body})
    else:
        await send({"type": "websocket.close", "code": 1008})


def sentence(status: int, text: str, **headers: str) -> Response:
    """A refusal in plain words, which no cache keeps."""
    return PlainTextResponse(f"{text}\n", status, {"Cache-Control": "no-store", **headers})


def header(scope: Scope, name: str) -> str | None:
    return HTTPConnection(scope).headers.get(name)
