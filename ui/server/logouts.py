"""Logins that were ended before their time, for as long as this process lives."""

from __future__ import annotations

from dataclasses import dataclass, field

from starlette.types import Message, Receive


@dataclass(frozen=True)
class Logouts:
    """The ended ones among the logins of a server, each by a text of its own."""

    _ended: set[str] = field(default_factory=set)

    def __contains__(self, login: object) -> bool:
        return login in self._ended

    def end(self, login: str) -> None:
        self._ended.add(login)

    def while_in(self, login: str, receive: Receive) -> Receive:
        """What the browser sends, until `login` ends: then its open WebSockets end with the next thing that they send."""

        async def checked() -> Message:
            message = await receive()
            ended = login in self and message["type"] == "websocket.receive"
            return {"type": "websocket.disconnect", "code": 1008} if ended else message

        return checked
