"""A request, or the opening of a WebSocket, given straight to an ASGI application."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Told = TypeVar("Told")
Story = Callable[..., Coroutine[Any, Any, None]]


@dataclass
class Answer:
    status: int | None
    headers: dict[str, str] = field(default_factory=dict)
    body: str = ""


async def inner(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for Streamlit: answers every request, and accepts every WebSocket and echoes what comes."""
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] != "websocket.disconnect":
            await send({"type": "websocket.send", "bytes": message["bytes"]})
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"the app"})


class Clock:
    """Goes on as a test says."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Waiting:
    """Stands for Streamlit as `inner` does, and answers nothing before `go_on` is set."""

    def __init__(self) -> None:
        self.go_on = asyncio.Event()
        self.came: list[Scope] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.came.append(scope)
        await self.go_on.wait()
        await inner(scope, receive, send)


async def aask(
    app: ASGIApp,
    target: str = "/",
    *,
    method: str = "GET",
    websocket: bool = False,
    client: str = "203.0.113.1",
    scheme: str = "http",
    body: Iterable[bytes] = (),
    whole: bool = True,
    headers: dict[str, str] | None = None,
) -> Answer:
    """What `app` answers. Of a WebSocket the status is 101 once it is accepted, and the body what it sends.

    A request that is not `whole` sends nothing after `body`, and stays open.
    """
    path, _, query = target.partition("?")
    given = {"host": "localhost:8501", **(headers or {})}
    scope: Scope = {
        "type": "websocket" if websocket else "http",
        "asgi": {"spec_version": "2.4"},
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "scheme": scheme,
        "headers": [(name.lower().encode(), value.encode()) for name, value in given.items()],
        "client": (client, 40000),
        "server": ("127.0.0.1", 8501),
        "extensions": {"websocket.http.response": {}},
    }
    coming: list[dict[str, Any]] = []
    if websocket:
        coming = [{"type": "websocket.receive", "bytes": part} for part in body] + [{"type": "websocket.disconnect"}]
    else:
        coming = [{"type": "http.request", "body": part, "more_body": True} for part in body]
        coming += [{"type": "http.request", "body": b"", "more_body": False}] if whole else []
    answer = Answer(None)

    async def receive() -> Message:
        if not coming:
            await asyncio.Event().wait()
        return coming.pop(0)

    async def send(message: Message) -> None:
        if message["type"] == "websocket.accept":
            answer.status = 101
        elif message["type"].endswith("response.start"):
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += (message.get("body") or message.get("bytes") or b"").decode(errors="surrogateescape")

    await app(scope, receive, send)
    return answer


def ask(app: ASGIApp, target: str = "/", **how: Any) -> Answer:
    """`aask`, for a test that asks one thing at a time."""
    return run(aask(app, target, **how))


def story(test: Story) -> Callable[..., None]:
    """A test that is a coroutine; `run` runs it."""

    @wraps(test)
    def whole(*fixtures: object, **more: object) -> None:
        run(test(*fixtures, **more))

    return whole


def run(story: Coroutine[Any, Any, Told]) -> Told:
    """What `story` returns. It runs in a thread of its own, because Playwright leaves an event loop running in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, story).result()
