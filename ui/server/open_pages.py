"""How many pages are open at once: from one place, and in all. An open page is a WebSocket, a session of Streamlit and a few descriptors."""

from collections import Counter
from dataclasses import dataclass, field

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ui.server import login
from ui.server.responses import Guard, asks_for_page, origin_of, sentence


@dataclass(frozen=True)
class OpenPages(Guard):
    """Refuses a page, and its WebSocket, for which there is no place."""

    most: int
    here: int
    """Pages that visitors from one place may have open; 0 sets no limit."""
    _open: Counter[str | None] = field(default_factory=Counter)
    """Open WebSockets by where they come from."""

    async def response(self, scope: Scope, receive: Receive) -> Response | None:
        del receive
        problem = self._problem(origin_of(scope))
        if problem and scope["type"] == "websocket":
            return sentence(503, problem, **{"Retry-After": "60"})
        if problem and asks_for_page(scope) and scope["method"] == "GET":
            return login.link(503, problem, "", "Try again")
        return None

    async def pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        origin = origin_of(scope)
        self._open[origin] += 1
        try:
            await self.app(scope, receive, send)
        finally:
            self._open[origin] -= 1
            if not self._open[origin]:
                del self._open[origin]

    def _problem(self, origin: str | None) -> str | None:
        """Why no page more can be opened from `origin`; None where one can."""
        if self._open.total() >= self.most:
            return "As many pages are open on this server as it can serve. Wait a minute, then try again."
        if origin and self.here and self._open[origin] >= self.here:
            return f"{self.here} pages of this server are open from your network. Close one, then try again."
        return None
