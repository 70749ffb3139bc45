"""Sends the zip of a bundle while it is made, so that no download takes memory or disk of the size of a bundle."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope
from streamlit import runtime

from tl_core.serving.bundle import zip_parts
from tl_core.serving.bundle_files import INFO
from ui.server.responses import Guard, path_of, sentence

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
class BundleZips(Guard):
    """Answers requests for a zip that was offered."""

    async def response(self, scope: Scope, receive: Receive) -> Response | None:
        asked = _PATH.fullmatch(path_of(scope))
        if asked is None or scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or not runtime.exists():
            return None
        file = runtime.get_instance().media_file_mgr.read_file(asked["file"])
        if file is None or not isinstance(file.content, Offered):
            return None
        return _answer(scope["method"], file.content.folder, file.filename or "bundle.zip")


def _answer(method: str, folder: Path, name: str) -> Response:
    if not (folder / INFO).is_file():
        return sentence(404, "The run was deleted, and its bundle with it.")
    headers = {"Content-Disposition": f"attachment; filename*=utf-8''{quote(name, safe='')}"}
    if method == "HEAD":
        return Response(media_type="application/zip", headers=headers)
    return StreamingResponse(zip_parts(folder), media_type="application/zip", headers=headers)
