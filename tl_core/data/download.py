"""One file over HTTP, with progress and its hash checked. Knows no samples."""

from __future__ import annotations

import hashlib
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path

from tl_core.data.pace import SECONDS_BETWEEN
from tl_core.documents.base import Record
from tl_core.documents.events import Event, Progress
from tl_core.errors import DownloadFailed

_CHUNK = 1 << 18
_TIMEOUT = 30.0
"""Seconds without a byte."""


class Remote(Record):
    url: str
    md5: str
    """As its publisher's library states it: tells a damaged file, not a forged one."""
    megabytes: int
    """About."""


def fetch(remote: Remote, path: Path, *, what: str) -> Generator[Event, None, None]:
    """Write the file at `remote` to `path`; progress counts whole megabytes. `what` names it in errors.

    Raises:
        DownloadFailed: no network, no such file, or not the file that was expected.
        OSError: it cannot be written (ENOSPC: the disk is full).
    """
    request = urllib.request.Request(remote.url, headers={"User-Agent": "graft"})  # noqa: S310 - a row of our own table
    digest = hashlib.md5(usedforsecurity=False)
    done = 0
    said = started = time.monotonic()
    with path.open("wb") as target:
        try:
            answer = urllib.request.urlopen(request, timeout=_TIMEOUT)  # noqa: S310 - as above
        except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
            raise _failed(what, remote, error) from error
        with answer:
            total = int(answer.headers.get("Content-Length") or 0) or remote.megabytes * 1_000_000
            while True:
                try:
                    chunk = answer.read(_CHUNK)
                except (http.client.HTTPException, TimeoutError, ConnectionError, urllib.error.URLError) as error:
                    raise _failed(what, remote, error) from error
                if not chunk:
                    break
                target.write(chunk)
                digest.update(chunk)
                done += len(chunk)
                now = time.monotonic()
                if now - said >= SECONDS_BETWEEN:
                    said = now
                    yield _progress(done, total, now - started)
    if digest.hexdigest() != remote.md5:
        raise DownloadFailed(
            f"{what} arrived damaged ({done / 1e6:,.1f} MB from {_host(remote)}, the hash differs). Try again; if it stays so, "
            "the publisher has changed the file and this sample cannot be used."
        )
    yield _progress(done, done, time.monotonic() - started)


def _progress(done: int, total: int, seconds: float) -> Progress:
    left = (total - done) * seconds / done if done and total > done else 0.0
    return Progress(stage="reading", done=round(done / 1e6), total=round(max(total, done) / 1e6), seconds_left=left)


def _host(remote: Remote) -> str:
    return remote.url.split("/")[2]


def _failed(what: str, remote: Remote, error: Exception) -> DownloadFailed:
    cause = getattr(error, "reason", None) or error
    reason = getattr(cause, "strerror", None) or cause
    return DownloadFailed(
        f"{what} could not be downloaded from {_host(remote)} ({reason}). Check the network and try again; "
        "the samples that are listed as here now need none."
    )
