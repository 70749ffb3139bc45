"""One weights file over HTTP: resumed, bounded, its hash checked. Knows no registry and no caches; torch neither.

The Hugging Face hub says of each file which SHA-256 and size it has, in the answer that sends on to the storage
(X-Linked-ETag, X-Linked-Size, X-Repo-Commit). Where the caller knows no hash, that one is held to.
"""

from __future__ import annotations

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from tl_core.data.cache import disk_full_said
from tl_core.documents.events import Event, Progress
from tl_core.errors import DownloadFailed, WeightsUnavailable

MEGABYTE = 1_000_000
TRIES = 4
"""Broken connections in a row, none of which brought anything, after which a download gives up."""
TIMEOUT = 20.0
"""Seconds without a byte."""
SLACK_BYTES = MEGABYTE
"""How much larger than the table says a file may be; a server that sends more is not sending these weights."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file to download, and what is known of it beforehand."""

    url: str
    file: str
    """Its name, for messages."""
    of: str
    """The network whose weights it holds."""
    sha256: str
    """First hex digits of its SHA-256, or all; empty where only the server knows it."""
    size: int
    """Bytes, about."""
    otherwise: Callable[[], str]
    """A sentence that says what works without it."""


@dataclass(kw_only=True)
class Answer:
    """What the server said of the file."""

    sha256: str = ""
    size: int | None = None
    commit: str | None = None

    def read(self, headers: Message) -> None:
        """Take over what `headers` say."""
        digest = re.fullmatch(r'(?:W/)?"?([0-9a-f]{64})"?', headers.get("X-Linked-ETag", ""))
        self.sha256 = digest[1] if digest else self.sha256
        size = headers.get("X-Linked-Size", "")
        self.size = int(size) if size.isascii() and size.isdigit() else self.size
        commit = headers.get("X-Repo-Commit", "")
        self.commit = commit if re.fullmatch(r"[0-9a-f]{40}", commit) else self.commit


def download(wanted: Wanted, part: Path) -> Generator[Event, None, Answer]:
    """Write the whole file to `part`, going on where an earlier try stopped, and check its hash.

    Yields progress in megabytes. The answer's `sha256` is the file's own, in full.

    Raises:
        WeightsUnavailable: the server cannot be reached.
        DownloadFailed: the file came broken, not to the end, or is another one.
        DiskFull: no space is left.
    """
    answer = Answer()
    empty_tries = 0
    while True:
        before = _size(part)
        try:
            whole = yield from _transfer(wanted, part, answer)
        except urllib.error.HTTPError as error:
            if error.code != 416:
                raise _refused(wanted, error) from error
            # The server has no such range: what is here cannot be the beginning of its file.
            part.unlink(missing_ok=True)
            whole = False
        except (OSError, http.client.HTTPException) as error:
            if before == 0 and _size(part) == 0:
                raise WeightsUnavailable(
                    f"The weights of {wanted.of} are not on this machine and {_host(wanted.url)} cannot be reached. "
                    f"Connect to the internet and start again. {wanted.otherwise()}"
                ) from error
            whole = False
        if whole:
            break
        empty_tries = 0 if _size(part) > before else empty_tries + 1
        if empty_tries >= TRIES:
            raise DownloadFailed(
                f"The download of {wanted.file} stopped at {megabytes(_size(part))} of "
                f"{megabytes(answer.size or wanted.size)} MB. Start again: it goes on from there."
            )
        time.sleep(0.2 * empty_tries)
    digest = sha256_of(part)
    if not digest.startswith(wanted.sha256 or answer.sha256):
        part.unlink()
        raise DownloadFailed(
            f"What {_host(wanted.url)} sent as {wanted.file} does not have the hash that it should have; it was thrown away. "
            "Start again."
        )
    answer.sha256 = digest
    return answer


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def megabytes(size: int) -> int:
    return max(1, round(size / MEGABYTE)) if size else 0


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows the hub to its storage, and keeps what the hub itself said."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise DownloadFailed(
                f"{_host(req.full_url)} sends on to {newurl}, which is not safe from changes on the way."
            )
        self.answer.read(headers)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _transfer(wanted: Wanted, part: Path, answer: Answer) -> Generator[Event, None, bool]:
    """Append to `part` what one connection gives; True if that was the rest of the file."""
    if urlsplit(wanted.url).scheme not in ("https", "http"):
        raise DownloadFailed(f"{wanted.url} is not a web address.")
    start = _size(part)
    headers = {"User-Agent": "graft"} | ({"Range": f"bytes={start}-"} if start else {})
    request = urllib.request.Request(wanted.url, headers=headers)  # noqa: S310 (checked above)
    opener = urllib.request.build_opener(_Redirects(answer))
    with opener.open(request, timeout=TIMEOUT) as given:
        answer.read(given.headers)
        _check_announced(wanted, answer)
        if given.status != 206:
            start = 0
        length = given.headers.get("Content-Length")
        total = answer.size or (start + int(length) if length else wanted.size)
        largest = answer.size or wanted.size + SLACK_BYTES
        done, began, said = start, time.monotonic(), 0.0
        with disk_full_said(f"the weights in {part.parent}"), part.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            while chunk := given.read(1 << 18):
                file.write(chunk)
                done += len(chunk)
                if done > largest:
                    file.truncate(0)
                    raise DownloadFailed(
                        f"{_host(wanted.url)} sent more than {megabytes(largest)} MB as {wanted.file}; stopped."
                    )
                now = time.monotonic()
                if now - said >= 0.25:
                    said = now
                    yield _progress(done, total, done - start, now - began)
    yield _progress(done, total, done - start, time.monotonic() - began)
    return done >= total if length or answer.size else True


def _check_announced(wanted: Wanted, answer: Answer) -> None:
    if not wanted.sha256 and not answer.sha256:
        raise DownloadFailed(
            f"{_host(wanted.url)} does not say which hash {wanted.file} of {wanted.of} has, so it cannot be checked. "
            f"Fetch it in another way and put it into GRAFT_WEIGHTS_DIR. {wanted.otherwise()}"
        )
    if wanted.sha256 and answer.sha256 and not answer.sha256.startswith(wanted.sha256):
        raise DownloadFailed(
            f"{_host(wanted.url)} now has another {wanted.file} for {wanted.of} than the one that is listed here. "
            f"A newer version of Graft may know it. {wanted.otherwise()}"
        )


def _refused(wanted: Wanted, error: urllib.error.HTTPError) -> DownloadFailed:
    if error.code in (401, 403):
        advice = (
            "It may ask for an account or for consent to a licence: download the file by hand and put it into the folder "
            f"that GRAFT_WEIGHTS_DIR names, as {wanted.of}{Path(wanted.file).suffix}."
        )
    else:
        advice = "Try again later."
    return DownloadFailed(
        f"{_host(wanted.url)} answered {error.code} ({error.reason}) for {wanted.file} of {wanted.of}. {advice} {wanted.otherwise()}"
    )


def _progress(done: int, total: int, fresh: int, seconds: float) -> Progress:
    rate = fresh / seconds if seconds > 0 else 0.0
    return Progress(
        stage="preparing",
        done=megabytes(done),
        total=max(megabytes(total), megabytes(done)),
        seconds_left=max(total - done, 0) / rate if rate else None,
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _host(url: str) -> str:
    return urlsplit(url).hostname or url
