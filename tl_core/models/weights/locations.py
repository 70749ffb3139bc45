"""Where files of pretrained weights may be on this machine, in the order in which they are looked for.

These are a Python package that contains them, PyTorch's cache (TORCH_HOME), the Hugging Face cache (HF_HOME), and the operator's
folder (GRAFT_WEIGHTS_DIR). The caches are the libraries' own and shared with other programs. Only folders are read, each once for
all networks, since a page asks for every network whenever it is drawn.
"""

import importlib.util
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from tl_core.children import HUB_TOKENS
from tl_core.models.registry import Network, WeightsRow
from tl_core.settings import weights_folder

Place = Literal["package", "torch cache", "Hugging Face cache", "operator's folder"]

HUB = "https://huggingface.co"
_RESOLVE = re.compile(r"/([\w.-]+)/([\w.-]+)/resolve/([\w.-]+)/([\w./-]+)")


@dataclass(frozen=True, kw_only=True)
class WeightsFile:
    """A file of weights on this machine."""

    path: Path
    place: Place


@dataclass(frozen=True, kw_only=True)
class HubFile:
    """A file of a repository on the Hugging Face hub, and its place in the hub's cache."""

    organisation: str
    name: str
    revision: str
    file: str

    @property
    def url(self) -> str:
        """Address of the file, on the server HF_ENDPOINT where that is set."""
        return f"{hub_endpoint()}/{self.organisation}/{self.name}/resolve/{self.revision}/{self.file}"

    @property
    def folder(self) -> Path:
        """The repository's folder, with `blobs/SHA256`, `snapshots/COMMIT/FILE` (a link to a blob) and `refs/REVISION` (a commit's name)."""
        return hub_folder() / self.folder_name

    @property
    def folder_name(self) -> str:
        return f"models--{self.organisation}--{self.name}"


def torch_folder() -> Path:
    """The folder of PyTorch's own cache of weights."""
    home = os.environ.get("TORCH_HOME") or str(_cache_home() / "torch")
    return Path(home).expanduser() / "hub" / "checkpoints"


def hub_folder() -> Path:
    """The folder of the Hugging Face hub's own cache."""
    chosen = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    home = os.environ.get("HF_HOME") or str(_cache_home() / "huggingface")
    return Path(home).expanduser() / "hub"


def hub_endpoint() -> str:
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def hub_token() -> str:
    """The operator's key to the hub, from the environment only; empty where there is none."""
    return next(filter(None, (os.environ.get(name, "").strip() for name in HUB_TOKENS)), "")


def hub_is_offline() -> bool:
    """Whether HF_HUB_OFFLINE forbids downloads from the hub."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in ("1", "ON", "YES", "TRUE")


def hub_file(weights: WeightsRow) -> HubFile | None:
    """The file of the set `weights` on the hub; None where it comes from elsewhere."""
    parts = urlsplit(weights.url or "")
    named = _RESOLVE.fullmatch(parts.path) if parts.hostname == urlsplit(HUB).hostname else None
    if named is None or ".." in parts.path:
        return None
    organisation, name, revision, file = named.groups()
    return HubFile(organisation=organisation, name=name, revision=revision, file=file)


def candidates(network: Network, weights: WeightsRow) -> Iterator[WeightsFile]:
    """Files of the set `weights` of `network` on this machine, the preferred one first. They are not read.

    Raises:
        SpecError: GRAFT_WEIGHTS_DIR names no folder.
    """
    packaged = _in_package(weights)
    if packaged is not None:
        yield WeightsFile(path=packaged, place="package")
    hub = hub_file(weights)
    if weights.url and hub is None and weights.file in _names(torch_folder()):
        file = torch_folder() / weights.file
        if _is_filled(file):
            yield WeightsFile(path=file, place="torch cache")
    if hub is not None and hub.folder_name in _names(hub_folder()):
        yield from (WeightsFile(path=file, place="Hugging Face cache") for file in _snapshots(hub))
    folder = weights_folder()
    if folder is not None:
        present = _names(folder)
        for name in own_names(network, weights):
            if name in present and _is_filled(folder / name):
                yield WeightsFile(path=folder / name, place="operator's folder")


def own_names(network: Network, weights: WeightsRow) -> list[str]:
    """Names that the file of the set `weights` may have in the operator's folder: `NAME.WEIGHTS`, `NAME` (default set), the library's."""
    stems = [f"{network.name}.{weights.name}"]
    if weights.name == network.default_weights:
        stems.append(network.name)
    names = [f"{stem}{ending}" for stem in stems for ending in (".safetensors", ".pth")]
    # On the hub, files of all repositories have the same name.
    return names if hub_file(weights) else [*names, Path(weights.file).name]


def _cache_home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")


def _in_package(weights: WeightsRow) -> Path | None:
    spec = importlib.util.find_spec(weights.package) if weights.package else None
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        file = Path(folder) / weights.file
        if file.is_file():
            return file
    return None


def _snapshots(hub: HubFile) -> list[Path]:
    """The file in each commit that is here: first that of the revision, then the newest."""
    snapshots = hub.folder / "snapshots"
    try:
        commits = list(snapshots.iterdir())
    except OSError:
        return []
    files = [commit / hub.file for commit in commits if _is_filled(commit / hub.file)]
    try:
        current = (hub.folder / "refs" / hub.revision).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        current = ""
    return sorted(files, key=lambda file: (file == snapshots / current / hub.file, file.stat().st_mtime), reverse=True)


def _is_filled(file: Path) -> bool:
    try:
        return file.is_file() and file.stat().st_size > 0
    except OSError:
        return False


_LISTINGS: dict[Path, tuple[int, frozenset[str]]] = {}


def _names(folder: Path) -> frozenset[str]:
    """Names in `folder`, which is listed again only after it changed."""
    try:
        changed = folder.stat().st_mtime_ns
        listing = _LISTINGS.get(folder)
        if listing is not None and listing[0] == changed:
            return listing[1]
        names = frozenset(entry.name for entry in folder.iterdir())
    except OSError:
        return frozenset()
    # A file added within the same tick of the file system's clock would be missed, so a folder that just changed is not remembered.
    if time.time_ns() - changed > 2_000_000_000:
        _LISTINGS[folder] = (changed, names)
    return names
