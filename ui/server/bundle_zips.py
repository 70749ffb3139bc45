"""Sends the zip of a bundle while it is made, so that no download takes memory or disk of the size of a bundle."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from streamlit import runtime

from tl_core.serving.bundle import zip_parts
from tl_core.serving.bundle_files import INFO
from ui.server.refusing import path_of, sentence

_PATH = re.compile(r"/media/(?P<file>[^/.]+)\.zip")


class Offered(bytes):
    """Stands for the zip of a bundle among the files that Streamlit keeps in memory, where the page's button has put it."""

    folder: Path

    @classmethod
    def of(cls, folder: Path) -> Offered:
        """For the bundle in `folder`. The content names it in a way that tells nothing of where it lies."""
        made = cls(hashlib.sha256(str(folder).encode()).digest())
        made.folder = folder
        return made


@dataclass(frozen=True)
class BundleZips:
    """Answers requests for a zip that was offered."""

    app: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = (
            _PATH.fullmatch(path_of(scope)) if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") else None
        )
        found = runtime.get_instance().media_file_mgr.read_file(asked["file"]) if asked and runtime.exists() else None
        if found is None or not isinstance(found.content, Offered):
            await self.app(scope, receive, send)
        else:
            answer = _answer(scope["method"], found.content.folder, found.filename or "bundle.zip")
            await answer(scope, receive, send)


def _answer(method: str, folder: Path, name: str) -> Response:
    if not (folder / INFO).is_file():
        return sentence(404, "The run was deleted, and its bundle with it.")
    headers = {"Content-Disposition": f"attachment; filename*=utf-8''{quote(name, safe='')}"}
    if method == "HEAD":
        return Response(media_type="application/zip", headers=headers)
    return StreamingResponse(zip_parts(folder), media_type="application/zip", headers=headers)
