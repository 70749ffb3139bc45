"""How many pages are open at once, and what each may say over its WebSocket, and how often.

An open page is a WebSocket, a session of Streamlit and a few descriptors; a place and the server have so many. Let through are the kinds of message
that Graft's pages need, with no more parts than a large upload has.

Streamlit reads messages in the loop that answers everybody, and does what any of them asks: empty the caches of all visitors, tell the
names of the repository and its files, make a million addresses. So each message is looked at first. Each one also runs a page anew, so
a session, and all sessions from one address together, that send far more than a hand and a page at work do are ended.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit import runtime
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.proto.Common_pb2 import FileURLsRequest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tl_core.data.archive import MAX_FILES
from ui.server import login
from ui.server.message_parts import Unfit, check, fields, lists_of, only_field
from ui.server.responses import Guard, asks_for_page, origin_of, sentence
from ui.server.upload_ceiling import chosen_anew
from ui.visitor import Places

MOST_PARTS = MAX_FILES + 20_000
"""Parts of one message: the files of a chooser, and the other values of a page."""
_LARGEST_DOWNLOAD = 10_000
"""Bytes of a message that asks for a download."""
_LOG = logging.getLogger(__name__)

_RUN = BackMsg.RERUN_SCRIPT_FIELD_NUMBER
_FILES = BackMsg.FILE_URLS_REQUEST_FIELD_NUMBER
_DOWNLOAD = BackMsg.BACKEND_OPERATION_REQUEST_FIELD_NUMBER
_PARTS_OF_RUN = lists_of(ClientState.DESCRIPTOR)
_BESIDE_NAMES = 2
"""Parts of a chooser's question that are no file: its id and that of its session."""
_PLAIN = {BackMsg.STOP_SCRIPT_FIELD_NUMBER, BackMsg.APP_HEARTBEAT_FIELD_NUMBER}


@dataclass(frozen=True)
class Rate:
    """So many messages at once, and from then on so many a second (a token bucket)."""

    at_once: int
    a_second: float


SESSION = Rate(100, 10)
"""A page at work asks to be drawn anew three times a second, and a hand is not quicker."""
ADDRESS = Rate(1_000, 100)
"""A class of thirty may sit behind one address."""


@dataclass
class _Sent:
    """How much of a rate is used up."""

    used: float = 0.0
    last: float = 0.0

    def once_more(self, rate: Rate, now: float) -> bool:
        """Count a message; whether it keeps to the rate."""
        self.used = min(rate.at_once, max(0.0, self.used - (now - self.last) * rate.a_second)) + 1
        self.last = now
        return self.used <= rate.at_once


@dataclass(frozen=True)
class Messages:
    """Lets through what the pages need, answers a chooser that asks where to send its files, and drops other kinds."""

    app: ASGIApp
    most_files: int = MAX_FILES
    """Files that a chooser may ask for at once."""
    clock: Callable[[], float] = time.monotonic
    _naming: asyncio.Lock = field(default_factory=asyncio.Lock)
    _addresses: Places[_Sent] = field(default_factory=lambda: Places(_Sent))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self.app(scope, receive, send)
            return
        address, session = origin_of(scope), _Sent()

        async def checked() -> Message:
            while True:
                message = await receive()
                if message["type"] != "websocket.receive":
                    return message
                try:
                    self._count(session, address)
                    if await self._passes(message.get("bytes"), send):
                        return message
                except Unfit as problem:
                    _LOG.warning("the message of a browser was refused: %s", problem)
                    await send({"type": "websocket.close", "code": problem.code, "reason": str(problem)})
                    return {"type": "websocket.disconnect", "code": problem.code}

        await self.app(scope, checked, send)

    def _count(self, session: _Sent, address: str | None) -> None:
        """Count a message of a session from `address`. Raises Unfit where it comes too soon after the others."""
        now = self.clock()
        if not session.once_more(SESSION, now):
            raise Unfit(1008, "This page sent too many messages at once. Wait a moment, then reload it.")
        if address and not self._addresses.at(address).once_more(ADDRESS, now):
            raise Unfit(1008, "Pages from your network sent too many messages at once. Wait a moment, then reload.")

    async def _passes(self, data: bytes | None, send: Send) -> bool:
        """Whether a message goes on to Streamlit.

        Raises:
            Unfit: it is no message of a page.
        """
        if data is None:
            raise Unfit(1003, "it is text")
        number, first, end = only_field(data)
        if number == _RUN:
            check(_PARTS_OF_RUN, data, first, end, MOST_PARTS)
            return True
        if number == _DOWNLOAD:
            return len(data) <= _LARGEST_DOWNLOAD and _decoded(data).backend_operation_request.HasField("deferred_file")
        if number == _FILES:
            await send({"type": "websocket.send", "bytes": await self._places(data, first, end)})
        return number in _PLAIN

    async def _places(self, data: bytes, first: int, end: int) -> bytes:
        """The answer to a chooser that asks where to send its files; made beside the loop, and one at a time."""
        answer = ForwardMsg()
        answer.metadata.cacheable = False
        try:
            check({}, data, first, end, self.most_files + _BESIDE_NAMES)
        except Unfit:
            answer.file_urls_response.response_id = _request_id(data, first, end)
            answer.file_urls_response.error_msg = f"One upload takes {self.most_files:,} files. Choose fewer pictures."
            return bytes(answer.SerializeToString())
        async with self._naming:
            return await asyncio.to_thread(_placed, _decoded(data).file_urls_request, answer)


def _placed(asked: FileURLsRequest, answer: ForwardMsg) -> bytes:
    app = runtime.get_instance()
    answer.file_urls_response.response_id = asked.request_id
    if app.is_active_session(asked.session_id):
        chosen_anew(asked.session_id)
        for place in app.uploaded_file_mgr.get_upload_urls(asked.session_id, asked.file_names):
            answer.file_urls_response.file_urls.add(
                file_id=place.file_id, upload_url=place.upload_url, delete_url=place.delete_url
            )
    else:
        answer.file_urls_response.error_msg = "The page was opened anew meanwhile. Choose the files again."
    return bytes(answer.SerializeToString())


def _request_id(data: bytes, first: int, end: int) -> str:
    """The id in a chooser's question, which browsers write first; empty where it is not there."""
    number, first, end = next(fields(data, first, end))
    return data[first:end].decode(errors="replace") if number == FileURLsRequest.REQUEST_ID_FIELD_NUMBER else ""


def _decoded(data: bytes) -> BackMsg:
    message = BackMsg()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise Unfit(1002, "it cannot be decoded") from error
    return message


@dataclass(frozen=True)
class OpenPages(Guard):
    """Refuses a page, and its WebSocket, for which there is no place."""

    most: int
    here: int
    """Pages that visitors from one place may have open; 0 sets no limit."""
    _open: Counter[str | None] = field(default_factory=Counter)
    """Open WebSockets by where they come from."""

    async def response(self, scope: Scope, receive: Receive) -> Response | None:
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
