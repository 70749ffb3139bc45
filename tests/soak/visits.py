"""One session of the served app without a browser, among many in one event loop: it acts, and searches all that reaches it.

It sends what the browser sends: reruns, the state of a widget, uploads over HTTP, and the timed reruns of fragments. It does not
fetch the pictures that a page shows.
"""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from tests.server.visiting import XSRF
from ui.places import DATA, EVALUATE, HOME, PREDICT, TRAIN, Place
from ui.workspace import BUG

PREFIX = "50a4"
"""Every token, id and name of the campaign begins with it, so that one expression finds them in what a session is sent."""
MARK = re.compile(PREFIX.encode() + b"[0-9a-f]{12}")
PAGES = (HOME, DATA, TRAIN, EVALUATE, PREDICT)
WEIGHTS: Mapping[str, int] = {"read": 60, "predict": 37, "upload": 3}
"""How often a session does each thing, of a hundred times."""
_LONGEST = 120.0
"""Seconds after which a rerun counts as hanging."""
_BUG = BUG.encode()[:40]
_BUSY = b"Others are asking at this moment"
_ERROR = 1
_FULL, _COMPILE = 0, 1


def pathname(file: str) -> str:
    """The address of the page in `file`: empty for the entry, else its name without number and ending."""
    return "" if file == HOME.file else re.sub(r"^pages/\d+_|\.py$", "", file)


def marks(token: str) -> tuple[str, str]:
    """The ids of the data set and of the run that the workspace `token` has from the start; the first also begins the token."""
    return token[:16], f"{PREFIX}f{token[5:16]}"


@dataclass
class Seen:
    """What all sessions of one phase saw."""

    reruns: list[tuple[str, float]] = field(default_factory=list)
    """What each rerun was for, and the seconds from sending it to its end."""
    counts: Counter[str] = field(default_factory=Counter)
    opened: Counter[str] = field(default_factory=Counter)
    """Runs of each page, by its title."""
    said: Counter[str] = field(default_factory=Counter)
    """Errors that pages said."""
    violations: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Visit:
    """A session of the owner of the workspace `token`, which alone has its marks."""

    address: str
    token: str
    known: frozenset[bytes]
    """The marks of all; any other match is a number that only looks like one."""
    picture: bytes
    seen: Seen
    random: random.Random
    _widgets: dict[tuple[str, str], str] = field(default_factory=dict)
    """Ids of what the page shows, by kind and label."""
    _timers: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Seconds between two reruns of a fragment, and when the next is due, by its id."""
    _page: str = ""
    """The address of the open page."""
    _session: str = ""
    _met: set[bytes] = field(default_factory=set)
    _text: bytearray = field(default_factory=bytearray)
    _number: int = 0

    @property
    def mark(self) -> str:
        return marks(self.token)[0]

    async def act(self, *, every: float, first: float, until: float, least: int) -> None:
        """Open the app after `first` seconds and do something about `every` seconds until that moment of the event loop's clock, and
        at least `least` times."""
        loop, times = asyncio.get_running_loop(), 0
        await asyncio.sleep(first)
        try:
            async with self.opened():
                while loop.time() < until or times < least:
                    begun = loop.time()
                    await self._something()
                    times += 1
                    rest = begun + every * self.random.uniform(0.7, 1.3) - loop.time()
                    await asyncio.sleep(max(0.0, min(rest, until - loop.time())))
        except (ConnectionClosed, OSError, httpx.HTTPError, TimeoutError) as error:
            self.seen.violations.append(f"session {self.mark} broke off: {type(error).__name__} {error}")
        if self.mark.encode() not in self._met:
            self.seen.violations.append(f"session {self.mark} never saw its own workspace, so the search says nothing")

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """The session, which has opened Home."""
        url = self.address.replace("http", "ws") + "/_stcore/stream"
        async with (
            httpx.AsyncClient(base_url=self.address, timeout=_LONGEST) as self._http,
            connect(
                url, subprotocols=[Subprotocol("streamlit")], origin=self.address, max_size=None, compression=None
            ) as self._socket,  # type: ignore[arg-type]
        ):
            self._ended = asyncio.Event()
            self._urls: asyncio.Queue[Any] = asyncio.Queue()
            helpers = [asyncio.create_task(self._listen(self._socket)), asyncio.create_task(self._tick())]
            try:
                await self._rerun("opening")
                yield
            finally:
                for helper in helpers:
                    helper.cancel()
                for ended in await asyncio.gather(*helpers, return_exceptions=True):
                    if isinstance(ended, Exception):
                        self.seen.violations.append(f"session {self.mark} broke off: {type(ended).__name__} {ended}")

    async def press(self, page: Place, label: str) -> bool:
        """Open `page` and press its button `label`; whether there is one."""
        await self._rerun("reading", page=pathname(page.file))
        button = self._widgets.get(("button", label))
        if button:
            await self._rerun("reading", WidgetState(id=button, trigger_value=True))
        return button is not None

    async def _something(self) -> None:
        what = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        await {"read": self._read, "predict": self._predict, "upload": self._upload}[what]()

    async def _read(self) -> None:
        await self._rerun("reading", page=pathname(self.random.choice(PAGES).file))

    async def _predict(self) -> None:
        await self._rerun("reading", page=pathname(PREDICT.file))
        self._number += 1
        name = f"{self.mark}-{self._number}.jpg"
        given = await self._given("Pictures that you bring", [name])
        if given:
            await self._rerun("predicting", given)
            answered = b"called " in self._text and name.encode() in self._text
            waits = _BUSY in self._text
            self.seen.counts[
                "pictures answered" if answered else "told to wait" if waits else "pictures not answered"
            ] += 1

    async def _upload(self) -> None:
        await self.press(DATA, "Bring other pictures")
        self._number += 1
        folder = f"{self.mark}-{self._number}"
        given = await self._given("A folder", [f"{folder}/{kind}/{n}.jpg" for kind in ("cup", "bowl") for n in (1, 2)])
        if given:
            await self._rerun("uploading", given)
            self.seen.counts["folders uploaded"] += 1

    async def _given(self, label: str, names: list[str]) -> WidgetState | None:
        """The state of the file chooser `label` once it has these files."""
        chooser = self._widgets.get(("file_uploader", label))
        if chooser is None:
            self.seen.counts[f"no chooser {label!r}"] += 1
            return None
        asked = BackMsg()
        asked.file_urls_request.request_id = chooser
        asked.file_urls_request.file_names.extend(names)
        asked.file_urls_request.session_id = self._session
        await self._socket.send(asked.SerializeToString())
        answer = await asyncio.wait_for(self._urls.get(), _LONGEST)
        state = WidgetState(id=chooser)
        for name, place in zip(names, answer.file_urls, strict=True):
            put = await self._http.put(
                place.upload_url,
                files={"file": (name, self.picture, "image/jpeg")},
                headers={"X-Xsrftoken": XSRF, "Cookie": f"_streamlit_xsrf={XSRF}"},
            )
            if put.status_code != 204:
                self.seen.counts[f"uploads refused with {put.status_code}"] += 1
                return None
            state.file_uploader_state_value.uploaded_file_info.add(
                name=name, size=len(self.picture), file_id=place.file_id, file_urls=place
            )
        return state

    async def _rerun(self, kind: str, *states: WidgetState, page: str | None = None) -> None:
        """Rerun the open page, or open `page`, and wait for its end."""
        message = self._message()
        self._page = self._page if page is None else page
        message.rerun_script.page_name = self._page
        message.rerun_script.widget_states.widgets.extend(states)
        self._widgets.clear()
        self._timers.clear()
        self._text.clear()
        self._ended.clear()
        sent = time.perf_counter()
        await self._socket.send(message.SerializeToString())
        try:
            await asyncio.wait_for(self._ended.wait(), _LONGEST)
        except TimeoutError:
            self.seen.violations.append(f"session {self.mark}: {kind} did not end within {_LONGEST:.0f} seconds")
        self.seen.reruns.append((kind, time.perf_counter() - sent))

    def _message(self) -> BackMsg:
        message = BackMsg()
        message.rerun_script.query_string = f"workspace={self.token}"
        message.rerun_script.context_info.timezone = "UTC"
        message.rerun_script.context_info.url = self.address
        return message

    async def _tick(self) -> None:
        """Rerun the fragments whose time has come, as the browser does."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(0.2)
            for fragment, (interval, due) in list(self._timers.items()):
                if due <= loop.time() and self._ended.is_set():
                    self._timers[fragment] = (interval, loop.time() + interval)
                    message = self._message()
                    message.rerun_script.page_name = self._page
                    message.rerun_script.fragment_id = fragment
                    message.rerun_script.is_auto_rerun = True
                    self.seen.counts["timed reruns of fragments"] += 1
                    await self._socket.send(message.SerializeToString())

    async def _listen(self, socket: ClientConnection) -> None:
        try:
            async for data in socket:
                assert isinstance(data, bytes)
                self._search(data)
                self._take(ForwardMsg.FromString(data))
        finally:
            self._ended.set()

    def _search(self, data: bytes) -> None:
        """Look for what is of others, and for what must not be shown to anybody."""
        self.seen.counts["messages"] += 1
        self._text += data
        met = set(MARK.findall(data))
        self._met |= met
        for foreign in (met & self.known) - {mark.encode() for mark in marks(self.token)}:
            self.seen.violations.append(f"session {self.mark} was sent {foreign.decode()} of another workspace")
        if _BUG in data:
            self.seen.violations.append(f"session {self.mark} was told of a bug")

    def _take(self, message: ForwardMsg) -> None:
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self._session = message.new_session.initialize.session_id
        elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
            self._take_element(message.delta.new_element)
        elif kind == "auto_rerun":
            interval = message.auto_rerun.interval
            due = asyncio.get_running_loop().time() + interval
            self._timers[message.auto_rerun.fragment_id] = (interval, due)
        elif kind == "stop_auto_rerun":
            for fragment in message.stop_auto_rerun.fragment_ids:
                self._timers.pop(fragment, None)
        elif kind == "file_urls_response":
            self._urls.put_nowait(message.file_urls_response)
        elif kind == "page_config_changed":
            self.seen.opened[message.page_config_changed.title] += 1
        elif kind == "script_finished" and message.script_finished in (_FULL, _COMPILE):
            self._ended.set()

    def _take_element(self, element: Any) -> None:
        kind = element.WhichOneof("type")
        if kind in ("button", "file_uploader"):
            widget = getattr(element, kind)
            self._widgets[kind, widget.label] = widget.id
        elif kind == "exception":
            self.seen.violations.append(f"session {self.mark} was shown an exception: {element.exception.message}")
        elif kind == "alert" and element.alert.format == _ERROR:
            self.seen.said[element.alert.body[:160]] += 1
