"""How much of uploads lies in the app's memory: of one session, of one place, and of all together.

An upload is in memory until its page has taken it, its user removes it, or its session ends. What is over a limit is refused before
a byte of it is read, and its page says why. What is announced counts before it came, so an upload that hardly comes is ended.
"""

import asyncio
import logging
import re
from collections import defaultdict
from dataclasses import dataclass, field
from sys import getsizeof
from typing import Any, cast

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send
from streamlit import runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.uploaded_file_manager import UploadedFileRec

from tl_core.data.archive import MAX_FILES
from ui.server.responses import Guard, header, origin_of, path_of, sentence

_PATH = re.compile(r"/_stcore/upload_file/(?P<session>[^/]+)/[^/]+")
_FRAMING = 10_000
"""Bytes by which a request is larger than the file in it, at most."""
_A_FILE = 2_000
"""Bytes that a file takes in memory beside its content and its names."""
_SHARE = 0.5
"""Share of all memory for uploads that visitors from one place may take."""
_LOG = logging.getLogger(__name__)
_refused: dict[str, str] = {}
"""Why a file of a session was refused, by the session; of those that were chosen last."""


def refusal(session: str) -> str | None:
    """Why a file was refused that this session sends or sent; None where none of those was that were chosen last."""
    return _refused.get(session)


def chosen_anew(session: str) -> None:
    """Note that other files of this session are sent from now on."""
    _refused.pop(session, None)


@dataclass(frozen=True)
class Pace:
    """How slowly an upload may come."""

    quiet: float = 30
    """Seconds in which something must come."""
    free: float = 30
    """Seconds before the whole of it is looked at."""
    slowest: float = 5_000
    """Bytes a second, of all uploads together that a session sends at once. A browser sends up to 250 files of a folder over one line."""
    longest: float = 7_200
    """Seconds in which all of it must come."""

    def left(self, size: int, came: int, seconds: float, *, together: int = 1) -> float:
        """For how many seconds more the next bytes of an upload of `size` bytes may be waited for, one of `together` that share a line."""
        rate = max(self.slowest / together, size / self.longest)
        return min(self.quiet, self.free + came / rate - seconds)


class Files(dict[str, UploadedFileRec]):
    """The files of one session, which Streamlit keeps here, with their size. Streamlit adds and removes them one at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 0
        """Bytes in memory."""

    def __setitem__(self, name: str, file: UploadedFileRec) -> None:
        self.pop(name, None)
        # Streamlit raises an error for a name with a NUL, at each drawing of its page.
        file = file._replace(name=file.name.replace("\0", " "))
        super().__setitem__(name, file)
        self.size += _size(file)

    def pop(self, name: str, default: Any = None) -> Any:
        file = super().pop(name, default)
        if file is not None:
            self.size -= _size(file)
        return file


def _size(file: UploadedFileRec) -> int:
    return _A_FILE + sum(getsizeof(part) for part in (file.data, file.name, file.file_id, file.type))


@dataclass(frozen=True)
class UploadCeiling(Guard):
    """Refuses an upload that does not fit, and ends one that hardly comes."""

    session: int
    """Bytes that one session may have in memory."""
    total: int
    """Bytes of all sessions together."""
    files: int = MAX_FILES
    """Files that one session may have in memory."""
    pace: Pace = field(default_factory=Pace)
    _coming: dict[str, dict[object, int]] = field(default_factory=dict)
    """The bytes of each request of a session that is being read; several may send one file."""
    _origins: dict[str, str | None] = field(default_factory=dict)
    """Where each session that has uploads comes from."""

    async def response(self, scope: Scope, receive: Receive) -> Response | None:
        session, length = _session(scope), header(scope, "content-length") or ""
        if session is None:
            return None
        if header(scope, "transfer-encoding") is not None:
            # The server would read what comes in this encoding, and not as many bytes as Content-Length says.
            return sentence(400, "An upload must be sent whole: Transfer-Encoding is not taken.")
        if not length.isdecimal():
            return sentence(411, "An upload must say its size: Content-Length is missing.")
        problem = self._problem(session, origin_of(scope), int(length) - _FRAMING)
        if problem is None:
            return None
        status, text = problem
        _tell(session, text)
        return sentence(status, text, **({"Retry-After": "60"} if status == 503 else {}))

    async def pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        session = _session(scope)
        if session is None:
            await self.app(scope, receive, send)
            return
        self._origins[session] = origin_of(scope)
        length = int(header(scope, "content-length") or 0)
        request, coming = object(), self._coming.setdefault(session, {})
        coming[request] = _A_FILE + length
        try:
            await self.app(scope, self._timely(receive, session, length), send)
        finally:
            del coming[request]
            if not coming:
                del self._coming[session]

    def _timely(self, receive: Receive, session: str, size: int) -> Receive:
        """What comes of an upload, as long as it keeps its pace; then an exception that Starlette answers with 408."""
        clock = asyncio.get_running_loop().time
        begun, came, more, together = clock(), 0, True, 1

        async def timely() -> Message:
            nonlocal came, more, together
            if not more:
                return await receive()
            # Also where the others have come meanwhile: what came so far shared the line with them.
            together = max(together, len(self._coming.get(session, ())))
            try:
                async with asyncio.timeout(self.pace.left(size, came, clock() - begun, together=together)):
                    message = await receive()
            except TimeoutError:
                text = "An upload came too slowly, and was ended. Try again over a better connection, or with smaller pictures."
                _tell(session, text)
                raise HTTPException(408, text, {"Connection": "close"}) from None
            came += len(message.get("body", b""))
            more = message.get("more_body", False)
            return message

        return timely

    def _problem(self, session: str, origin: str | None, size: int) -> tuple[int, str] | None:
        """The status and the sentence with which `size` bytes more are refused."""
        held = self._held()
        for gone in set(self._origins) - set(held):
            del self._origins[gone]
        files, mine = held.get(session, (0, 0))
        all_ = sum(size for _, size in held.values())
        here = sum(held[other][1] for other, where in self._origins.items() if where == origin)
        if files >= self.files:
            return 413, f"One upload takes {self.files:,} files. Choose fewer pictures."
        if mine + size > self.session:
            return 413, f"One upload takes {self.session / 1e6:,.6g} MB in all. Choose fewer pictures, or smaller ones."
        if all_ + size > self.total:
            return 503, "Others are uploading, and the server can take no more just now. Wait a minute, then try again."
        if origin and here + size > max(self.session, self.total * _SHARE):
            return 503, "Too much is being uploaded from your network just now. Wait a minute, then try again."
        return None

    def _held(self) -> dict[str, tuple[int, int]]:
        """Files and bytes in memory or on their way there, by session."""
        manager = runtime.get_instance().uploaded_file_mgr if runtime.exists() else None
        held: dict[str, tuple[int, int]] = {}
        if isinstance(manager, MemoryUploadedFileManager):
            stored = cast("defaultdict[str, Files]", manager.file_storage)
            stored.default_factory = Files
            # A copy, because the threads of other sessions remove theirs meanwhile.
            for session, uploads in list(stored.items()):
                held[session] = len(uploads), uploads.size
        for session, coming in self._coming.items():
            files, sum_ = held.get(session, (0, 0))
            held[session] = files + len(coming), sum_ + sum(coming.values())
        return {session: of for session, of in held.items() if of[0]}


def _session(scope: Scope) -> str | None:
    """The session that sends an upload by a request; None where it is no upload."""
    upload = _PATH.fullmatch(path_of(scope)) if scope["type"] == "http" and scope["method"] == "PUT" else None
    return upload["session"] if upload else None


def _tell(session: str, text: str) -> None:
    """Keep the reason for the session's page, and let the page be drawn again, because a refused upload alone does not."""
    _LOG.warning("upload refused: %s", text)
    if not runtime.exists():
        return
    app: Any = runtime.get_instance()
    for gone in [other for other in _refused if not app.is_active_session(other)]:
        del _refused[gone]
    info = app._session_mgr.get_active_session_info(session)
    if info is not None and _refused.get(session) != text:
        _refused[session] = text
        info.session.request_rerun(info.session._client_state)
