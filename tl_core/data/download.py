"""Downloads one file over HTTP: resumed where the connection broke, bounded in size, its hash checked.

The Hugging Face hub sends the SHA-256 and the size of each file in the answer that redirects to its storage (X-Linked-ETag,
X-Linked-Size, X-Repo-Commit). Where the caller knows no hash, the file must have that one.
"""

import hashlib
import http.client
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from email.message import Message
from functools import partial
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from tl_core import settings
from tl_core.data.pace import Pace
from tl_core.disk import disk_full_said, require_spare
from tl_core.documents.events import Event, Stage
from tl_core.errors import DownloadFailed, GraftError

MEGABYTE = 1_000_000
TRIES = 4
"""Broken connections in a row, none of which brought anything, after which a download gives up."""
TIMEOUT = 20.0
"""Seconds without a byte after which a connection counts as broken."""
SLACK_BYTES = MEGABYTE
"""How much larger than it is said to be a file may be; a server that sends more is not sending this file."""
_LOOK_EVERY = 16 * MEGABYTE
"""Bytes after which a download looks again at the free space of the disk."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """A file to download, and what is known of it beforehand."""

    url: str
    what: str
    """What the file is, in words that fit within a sentence: `the weights of resnet18`."""
    sha256: str = ""
    """First hex digits of its SHA-256, or all; empty where it is not known."""
    md5: str = ""
    """Its MD5 where the publisher states only that: it tells a damaged file, not a forged one."""
    size: int
    """Approximate size, bytes."""
    stage: Stage
    """The stage of a job that the progress belongs to."""
    unreachable: type[GraftError] = DownloadFailed
    """What is raised where the server cannot be reached at all."""
    token: str = field(default="", repr=False)
    """A key that the server named in `url` gets, and no server that it redirects to."""
    by_hand: str = ""
    """A sentence that says how else the file can be brought here."""
    otherwise: Callable[[], str]
    """A sentence that says what works without the file."""


@dataclass(kw_only=True)
class Announced:
    """What the server said about the file."""

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


def download(wanted: Wanted, part: Path) -> Generator[Event, None, Announced]:
    """Write the whole file to `part`, going on where an earlier try stopped, and check its hash.

    Yields progress in megabytes. The `sha256` that is returned is the file's own, in full, unless its MD5 was checked.

    Raises:
        DownloadFailed: the file came broken, not to the end, or is another one.
        `wanted.unreachable`: the server cannot be reached.
        DiskFull: the disk has no room for it beside what stays free.
        OSError: `part` cannot be written for another reason.
    """
    announced = Announced()
    empty_tries = 0
    while True:
        before = _size(part)
        try:
            if (yield from _transfer(wanted, part, announced)):
                break
        except urllib.error.HTTPError as error:
            if error.code != 416:
                asks = f"It may ask for an account or for consent to a licence. {wanted.by_hand}"
                advice = asks if error.code in (401, 403) else "Try again later."
                raise _failed(
                    wanted, f"{_host(wanted.url)} answered {error.code} ({error.reason}). {advice}"
                ) from error
            # The server has no such range: what is here cannot be the beginning of its file.
            part.unlink(missing_ok=True)
        except _ConnectionLost as error:
            if before == 0 and _size(part) == 0:
                raise _failed(
                    wanted,
                    f"{_host(wanted.url)} cannot be reached. Check the network and start again.",
                    wanted.unreachable,
                ) from error
        empty_tries = 0 if _size(part) > before else empty_tries + 1
        if empty_tries >= TRIES:
            came, total = megabytes(_size(part)), megabytes(announced.size or wanted.size)
            raise _failed(wanted, f"it stopped at {came} of {total} MB. Start again.")
        time.sleep(0.2 * empty_tries)
    digest = hash_of(part, partial(hashlib.md5, usedforsecurity=False) if wanted.md5 else hashlib.sha256)
    if not digest.startswith(wanted.md5 or wanted.sha256 or announced.sha256):
        part.unlink()
        raise _failed(
            wanted,
            f"what {_host(wanted.url)} sent does not have the hash that it should have, and was removed. Start again; if it "
            "stays so, the publisher has changed the file.",
        )
    if not wanted.md5:
        announced.sha256 = digest
    return announced


def hash_of(path: Path, algorithm: Callable[[], Any] = hashlib.sha256) -> str:
    """The hash of a file, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def megabytes(size: int) -> int:
    """`size` bytes in whole megabytes, at least 1 of what is not empty."""
    return max(1, round(size / MEGABYTE)) if size else 0


def _failed(wanted: Wanted, why: str, kind: type[GraftError] = DownloadFailed) -> GraftError:
    what = f"{wanted.what[0].upper()}{wanted.what[1:]}"
    return kind(f"{what} could not be downloaded: {why} {wanted.otherwise()}")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows the hub to its storage, and keeps what the hub itself said."""

    def __init__(self, announced: Announced) -> None:
        self.announced = announced

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise DownloadFailed(
                f"{_host(req.full_url)} redirects to {newurl}, where the file is not safe from changes on the way."
            )
        self.announced.read(headers)
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


class _ConnectionLost(Exception):
    """The connection could not be opened, or it broke."""


def _over_network(work: Callable[[], Any]) -> Any:
    """What `work` returns. What goes wrong on the network becomes `_ConnectionLost`, to tell it apart from an error of the disk."""
    try:
        return work()
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException) as error:
        raise _ConnectionLost from error


def _transfer(wanted: Wanted, part: Path, announced: Announced) -> Generator[Event, None, bool]:
    """Append to `part` what one connection gives; True if that was the rest of the file."""
    if urlsplit(wanted.url).scheme not in ("https", "http"):
        raise _failed(wanted, f"{wanted.url} is not a web address.")
    start = _size(part)
    headers = {"User-Agent": "graft"} | ({"Range": f"bytes={start}-"} if start else {})
    request = urllib.request.Request(wanted.url, headers=headers)  # noqa: S310 (checked above)
    if wanted.token:
        request.add_unredirected_header("Authorization", f"Bearer {wanted.token}")
    opener = urllib.request.build_opener(_Redirects(announced))
    with _over_network(lambda: opener.open(request, timeout=TIMEOUT)) as response:
        announced.read(response.headers)
        _check_announced(wanted, announced)
        if response.status != 206:
            start = 0
        length = response.headers.get("Content-Length")
        total = announced.size or (start + int(length) if length else wanted.size)
        largest = announced.size or wanted.size + SLACK_BYTES
        pace = Pace(wanted.stage, megabytes(total), before=megabytes(start), pictures=False)
        done = start
        require_spare(part.parent, settings.current().free_bytes, min(total, largest) - start, wanted.what)
        with disk_full_said(wanted.what), part.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            while chunk := _over_network(lambda: response.read(1 << 18)):
                if done // _LOOK_EVERY != (done + len(chunk)) // _LOOK_EVERY:
                    require_spare(part.parent, settings.current().free_bytes, len(chunk), wanted.what)
                file.write(chunk)
                done += len(chunk)
                if done > largest:
                    file.truncate(0)
                    raise _failed(wanted, f"{_host(wanted.url)} sent more than {megabytes(largest)} MB.")
                yield from pace.at(megabytes(done))
    return done >= total if length or announced.size else True


def _check_announced(wanted: Wanted, announced: Announced) -> None:
    if not (wanted.sha256 or wanted.md5 or announced.sha256):
        raise _failed(
            wanted, f"{_host(wanted.url)} does not say which hash it has, so it cannot be checked. {wanted.by_hand}"
        )
    if wanted.sha256 and announced.sha256 and not announced.sha256.startswith(wanted.sha256):
        raise _failed(
            wanted,
            f"{_host(wanted.url)} now has another file than the one that is listed here. A newer version of Graft may know it.",
        )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _host(url: str) -> str:
    return urlsplit(url).hostname or url
