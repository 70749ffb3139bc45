"""How many pages are open at once: from one place, and in all. An open page is a WebSocket, a session of Streamlit and a few descriptors."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Receive, Scope, Send

from ui import visitor
from ui.server import login_page
from ui.server.refusing import give, header, sentence


@dataclass(frozen=True)
class OpenPages:
    """Refuses a page, and its WebSocket, for which there is no place."""

    app: ASGIApp
    most: int
    here: int
    """Pages that visitors from one place may have open; 0 sets no limit."""
    _open: Counter[str | None] = field(default_factory=Counter)
    """Open WebSockets by where they come from."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        client = scope.get("client")
        origin = visitor.origin(client[0] if client else None)
        problem = self._problem(origin)
        if scope["type"] == "websocket" and problem:
            await give(sentence(503, problem, **{"Retry-After": "60"}), scope, receive, send)
        elif scope["type"] == "websocket":
            self._open[origin] += 1
            try:
                await self.app(scope, receive, send)
            finally:
                self._open[origin] -= 1
                if not self._open[origin]:
                    del self._open[origin]
        elif problem and scope["method"] == "GET" and "text/html" in (header(scope, "accept") or ""):
            await give(login_page.link(503, problem, "", "Try again"), scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _problem(self, origin: str | None) -> str | None:
        """Why no page more can be opened from `origin`; None where one can."""
        if self._open.total() >= self.most:
            return "As many pages are open on this server as it can serve. Wait a minute, then try again."
        if origin and self.here and self._open[origin] >= self.here:
            return f"{self.here} pages of this server are open from your network. Close one, then try again."
        return None
