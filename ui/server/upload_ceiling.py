"""How much of uploads lies in the app's memory: of one session, of one place, and of all together.

An upload is in memory until its page has taken it, its user removes it, or its session ends. What is over a limit is refused before
a byte of it is read, and its page says why.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit import runtime
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

from ui import visitor
from ui.server.refusing import give, header, path_of, sentence

_PATH = re.compile(r"/_stcore/upload_file/(?P<session>[^/]+)/[^/]+")
_FRAMING = 10_000
"""Bytes by which a request is larger than the file in it, at most."""
_SHARE = 0.5
"""Share of all memory for uploads that visitors from one place may take."""
_LOG = logging.getLogger(__name__)
_refused: dict[str, str] = {}
"""Why the last upload of a session was refused, by the session."""


def refusal(session: str) -> str | None:
    """Why the last upload of this session was refused; None after one was taken."""
    return _refused.get(session)


@dataclass(frozen=True)
class UploadCeiling:
    """Refuses an upload that does not fit."""

    app: ASGIApp
    session: int
    """Bytes that one session may have in memory."""
    total: int
    """Bytes of all sessions together."""
    _coming: dict[object, tuple[str, int]] = field(default_factory=dict)
    """The session and the bytes of each request that is being read; several may send one file."""
    _origins: dict[str, str | None] = field(default_factory=dict)
    """Where each session that has uploads comes from."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        upload = _PATH.fullmatch(path_of(scope)) if scope["type"] == "http" and scope["method"] == "PUT" else None
        if upload is None:
            await self.app(scope, receive, send)
            return
        session = upload["session"]
        length = header(scope, "content-length") or ""
        if not length.isdecimal():
            await give(sentence(411, "An upload must say its size: Content-Length is missing."), scope, receive, send)
            return
        client = scope.get("client")
        origin = visitor.origin(client[0] if client else None)
        problem = self._problem(session, origin, int(length) - _FRAMING)
        if problem:
            status, text = problem
            _tell(session, text)
            await give(sentence(status, text, **({"Retry-After": "60"} if status == 503 else {})), scope, receive, send)
            return
        _refused.pop(session, None)
        self._origins[session] = origin
        request = object()
        self._coming[request] = session, int(length)
        try:
            await self.app(scope, receive, send)
        finally:
            del self._coming[request]

    def _problem(self, session: str, origin: str | None, size: int) -> tuple[int, str] | None:
        """The status and the sentence with which `size` bytes more are refused."""
        held = self._held()
        for gone in set(self._origins) - set(held):
            del self._origins[gone]
        mine, all_ = held.get(session, 0), sum(held.values())
        here = sum(held[other] for other, where in self._origins.items() if where == origin)
        if mine + size > self.session:
            return 413, f"One upload takes {_megabytes(self.session)} in all. Choose fewer pictures, or smaller ones."
        if all_ + size > self.total:
            return 503, "Others are uploading, and the server can take no more just now. Wait a minute, then try again."
        if origin and here + size > max(self.session, self.total * _SHARE):
            return 503, "Too much is being uploaded from your network just now. Wait a minute, then try again."
        return None

    def _held(self) -> dict[str, int]:
        """Bytes in memory or on their way there, by session."""
        manager = runtime.get_instance().uploaded_file_mgr if runtime.exists() else None
        stored = manager.file_storage if isinstance(manager, MemoryUploadedFileManager) else {}
        held: dict[str, int] = {}
        for session, size in self._coming.values():
            held[session] = held.get(session, 0) + size
        # Copies, because the threads of other sessions remove files meanwhile.
        for session, files in list(stored.items()):
            sizes = [len(record.data) for record in list(files.values())]
            if sizes:
                held[session] = held.get(session, 0) + sum(sizes)
        return held


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.6g} MB"


def _tell(session: str, text: str) -> None:
    """Keep the reason for the session's page, and let the page be drawn again, because a refused upload alone does not."""
    _LOG.warning("upload refused: %s", text)
    if not runtime.exists():
        return
    app: Any = runtime.get_instance()
    for gone in [other for other in _refused if not app.is_active_session(other)]:
        del _refused[gone]
    found = app._session_mgr.get_active_session_info(session)
    if found is not None and _refused.get(session) != text:
        _refused[session] = text
        found.session.request_rerun(found.session._client_state)
