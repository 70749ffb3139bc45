"""The exported backbone: a pretrained network without its head as an ONNX graph, kept in the cache.

Imports torch only where the graph is not in the cache yet.
"""

from __future__ import annotations

import gc
import hashlib
import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tl_core.data.cache import Cache
from tl_core.documents.events import Event, StageStarted
from tl_core.errors import DiskFull, ModelError, OverBudget
from tl_core.models.graphs.edit import holds_graph, too_large
from tl_core.models.registry import Network
from tl_core.models.weights.obtain import fetch, identity

if TYPE_CHECKING:
    from tl_core.models.build import Backbone

ONNX_NAME = "backbone.onnx"
TENSORS_NAME = "backbone.safetensors"
STRUCTURE_NAME = "structure.txt"
_BUFFERS = ("running_mean", "running_var", "relative_coords_table")
"""Last parts of the names of tensors that are numbers, but not learned; counts and indices are whole numbers."""
FORMAT = 3
"""Part of the cache's key. Raise it when the exported files change, so that older ones are not used."""


def exported_backbone(
    network: Network, weights: str | None, image_size: int, cache: Cache
) -> Generator[Event, None, Path]:
    """A folder with `backbone.onnx`, `backbone.safetensors` (all tensors but the head's) and `structure.txt` (the printed network).

    Where it is not in the cache, the weights are fetched and the graph is written, which needs torch and takes 5 to 15 s.

    Raises:
        UnknownName: the network has no such set of weights.
        SpecError: the network does not take this image size.
        WeightsUnavailable, DownloadFailed: as `weights.obtain.fetch`.
        OverBudget, DiskFull: the cache or the disk has no room for it.
        ModelError: ONNX Runtime answers differently from torch, or the network is too large for one file.
    """
    row = network.weights_row(weights)
    network.check_image_size(image_size, row.name)
    problem = too_large(network)
    if problem:
        raise ModelError(problem)
    # The graph and the tensors hold each parameter once, at 4 bytes.
    needed = 2 * 4 * network.parameters
    key = backbone_key(network, row.name, image_size)
    began = StageStarted(stage="backbone", title=f"Preparing {network.name} for this image size, once")
    if cache.filling("backbones", key):
        yield began
    with cache.entry("backbones", key, whole=_whole, needed=needed) as entry:
        if entry.path is not None:
            return entry.path
        file = yield from fetch(network, row.name)
        yield began
        _fill(network, row.name, file, image_size, entry.temporary)
        return entry.commit()


def backbone_key(network: Network, weights: str | None, image_size: int) -> str:
    """Cache key of the exported backbone, by what it is made from; also part of the keys of all that is computed with it.

    Raises:
        UnknownName: the network has no such set of weights.
        SpecError: GRAFT_WEIGHTS_DIR names no folder.
    """
    row = network.weights_row(weights)
    made_from = [FORMAT, network.builder, identity(network, row.name), row.mean, row.std, image_size]
    digest = hashlib.sha256(json.dumps(made_from).encode()).hexdigest()[:16]
    return f"{network.name}-{row.name}-{image_size}-{digest}"


def structure_file(network: Network, weights: str | None, image_size: int, cache: Cache) -> Path | None:
    """The printed network, where the backbone was exported for this image size or `keep_structure` kept it; else None.

    Raises:
        UnknownName, SpecError: as `backbone_key`.
    """
    key = backbone_key(network, weights, image_size)
    exported = cache.get("backbones", key)
    return exported / STRUCTURE_NAME if exported else cache.get("backbones", _structure_key(key))


def keep_structure(backbone: Backbone, weights: str, image_size: int, cache: Cache) -> None:
    """Keep `backbone` as text for `structure_file`, unless it is there or there is no room. Needs torch."""
    if structure_file(backbone.network, weights, image_size, cache) is not None:
        return
    from tl_core.models.graphs.from_torch import structure

    def write(path: Path) -> None:
        path.write_text(structure(backbone, image_size), encoding="utf-8")

    with suppress(OverBudget, DiskFull):
        cache.make("backbones", _structure_key(backbone_key(backbone.network, weights, image_size)), write)


def _structure_key(key: str) -> str:
    return f"{key}-{STRUCTURE_NAME}"


def parameter_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the parameters in the folder of an exported backbone, without its head; only the file's header is read.

    Raises:
        OSError: there is no such file.
        ModelError: it is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / TENSORS_NAME, framework="numpy") as file:
            names = file.keys()
            tensors = {name: file.get_slice(name) for name in names}
            return {
                name: tuple(tensor.get_shape())
                for name, tensor in tensors.items()
                if tensor.get_dtype() == "F32" and name.rpartition(".")[2] not in _BUFFERS
            }
    except SafetensorError as error:
        raise ModelError(f"The exported backbone is damaged: {error}.") from error


def _whole(folder: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / TENSORS_NAME, framework="numpy"):
            pass
        if not (folder / STRUCTURE_NAME).stat().st_size:
            return False
    except (SafetensorError, OSError):
        return False
    return holds_graph("embedding", "map")(folder / ONNX_NAME)


def _fill(network: Network, weights: str, file: Path, image_size: int, folder: Path) -> None:
    with _without_collection():
        from safetensors.torch import save_file

        from tl_core.models.build import build
        from tl_core.models.graphs.from_torch import export_backbone, structure

        backbone = build(network, weights=weights, weights_file=file, classes=None)
        folder.mkdir(parents=True)
        (folder / STRUCTURE_NAME).write_text(structure(backbone, image_size), encoding="utf-8")
        export_backbone(backbone, image_size, folder / ONNX_NAME)
        save_file(backbone.tensors(head=False), folder / TENSORS_NAME)


@contextmanager
def _without_collection() -> Iterator[None]:
    """Python's cyclic garbage collector is off within: importing torch and tracing make millions of objects of which nearly all stay.

    It takes a fifth of their time. What is left uncollected is some 10 MB.
    """
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()
