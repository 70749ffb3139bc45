"""Where files of pretrained weights may be on this machine, in the order in which they are looked for.

These are a Python package that contains them, PyTorch's cache (TORCH_HOME), the Hugging Face cache (HF_HOME), and the operator's
folder (GRAFT_WEIGHTS_DIR). The caches are the libraries' own and shared with other programs. No file is opened, since a page asks for
every network whenever it is drawn.
"""

import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import suppress
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
        return hub_folder() / f"models--{self.organisation}--{self.name}"


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
    if hub is not None:
        yield from (WeightsFile(path=file, place="Hugging Face cache") for file in _snapshots(hub))
    elif weights.url and _is_filled(torch_folder() / weights.file):
        yield WeightsFile(path=torch_folder() / weights.file, place="torch cache")
    folder = weights_folder()
    if folder is not None:
        files = [folder / name for name in own_names(network, weights)]
        yield from (WeightsFile(path=file, place="operator's folder") for file in files if _is_filled(file))


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
    # Path.glob gives nothing where there is no such folder.
    files = [commit / hub.file for commit in snapshots.glob("*") if _is_filled(commit / hub.file)]
    current = ""
    with suppress(OSError, UnicodeDecodeError):
        current = (hub.folder / "refs" / hub.revision).read_text(encoding="utf-8").strip()
    return sorted(files, key=lambda file: (file == snapshots / current / hub.file, file.stat().st_mtime), reverse=True)


def _is_filled(file: Path) -> bool:
    with suppress(OSError):
        return file.is_file() and file.stat().st_size > 0
    return False
